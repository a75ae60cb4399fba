"""What outlives the trainer: policies, checkpoints, uploads."""
