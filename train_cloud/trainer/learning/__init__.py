"""What learns: learners, their networks, the replay buffer."""
