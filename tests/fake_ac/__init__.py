"""A stand-in for Assetto Corsa with CSP: its own process, which shares nothing with bridge/ but the game's layouts."""
