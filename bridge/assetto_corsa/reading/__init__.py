"""What the game says: its shared memory, its pages, and the car's state made of them."""
