"""Learning over environments that a PC serves: small programs to begin with; see docs/remote-gym.md."""
