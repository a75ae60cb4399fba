"""A run on this machine, without a cloud: the receiver, the trainer and the page in the foreground."""
