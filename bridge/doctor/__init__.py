"""What `ac-bridge doctor` looks at, one module each; bridge/commands/doctor.py runs them in order."""
