"""How an episode begins in the game: resets and rolling starts."""
