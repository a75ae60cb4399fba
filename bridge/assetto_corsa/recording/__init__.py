"""The game's memory to a file and back, and a person's lap as a recording."""
