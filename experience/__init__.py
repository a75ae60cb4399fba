"""What was lived: batches of steps, their codec, and the recorder that makes them."""
