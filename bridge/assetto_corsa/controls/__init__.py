"""How the car is steered: Custom AI memory, virtual gamepads, and the guard that lets go of them."""
