"""What lies in the game's folder: the installation, and a track's ideal line."""
