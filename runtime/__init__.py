"""What every process needs, whatever its work: logs, signals, exit codes, progress, files."""
