"""What both sides say to each other, without any sockets."""
