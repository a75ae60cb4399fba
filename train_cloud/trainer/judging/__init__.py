"""Which checkpoint drives best: each one's policy is judged by laps without exploration."""
