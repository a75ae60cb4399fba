"""In which precision networks multiply matrices while they learn."""

from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]


def matrix_products(precision: Precision, device: torch.device) -> torch.autocast:
    """Within it, networks on `device` multiply in `precision`; weights, gradients and optimisers stay float32.

    One of its own for each pass: it keeps the weights that it has rounded until it ends, and an update moves them.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
