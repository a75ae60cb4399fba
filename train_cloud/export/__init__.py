"""What a run has driven and learned, in the forms that programs of others read."""
