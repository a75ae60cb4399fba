"""The page about a run: a process of its own that reads the store and changes nothing of the run."""
