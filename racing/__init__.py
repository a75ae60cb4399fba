"""What driving means: tracks, cars, the task and the policy that drives. No network, no cloud, no torch."""
