"""What runs on the instance."""
