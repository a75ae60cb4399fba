"""Acts in environments that a PC serves, and records what it lives as a bridge would."""
