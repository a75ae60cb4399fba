"""The trainer's tests compute on one thread: their products are small, and a machine's cores run several tests."""

import torch

torch.set_num_threads(1)
