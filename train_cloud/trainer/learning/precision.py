"""In which precision networks multiply matrices while they learn."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

Precision = Literal["float32", "bfloat16"]


def matrix_products(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Within it, networks on `device` multiply in `precision`; weights, gradients and optimisers stay float32.

    One of its own for each pass: it keeps the weights that it has rounded until it ends, and an update moves them.
    """
    # Entering torch's costs a tenth of a small network's pass, also where it does nothing.
    return nullcontext() if precision == "float32" else torch.autocast(device.type, torch.bfloat16)
