"""Chooses how torch multiplies float32 matrices on this machine's CPU.

torch hands float32 products to MKL, which uses half of an AMD core's vector units. oneDNN, which torch carries too,
uses them all, but torch offers it for float32 only under a switch that allows bfloat16 where the CPU multiplies that
natively (AMX). So the switch is tried, and kept only where the products stay as exact and are computed faster.
"""

import logging
import timeit
from typing import Any

import torch

from runtime.logs import fields

ROWS, INPUTS, OUTPUTS = 256, 128, 128
EXACT = 1e-5
"""Largest error of an entry, as a share of the largest entry, of a float32 product; bfloat16's is some 1e-3."""

_log = logging.getLogger(__name__)


def choose_matrix_products() -> bool:
    """Take oneDNN's float32 products where they are exact and faster; whether they were taken."""
    precision: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # torch's own stubs lack it
    before = precision.fp32_precision
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, INPUTS, generator=generator)
    weight = torch.randn(OUTPUTS, INPUTS, generator=generator)
    exact = x.double() @ weight.double().t()
    usual = _seconds(x, weight)
    precision.fp32_precision = "bf16"
    other = _seconds(x, weight)
    error = float(((x @ weight.t()).double() - exact).abs().max() / exact.abs().max())
    taken = error < EXACT and other < 0.9 * usual
    if not taken:
        precision.fp32_precision = before
    times = {"default_us": round(1e6 * usual, 1), "onednn_us": round(1e6 * other, 1)}
    chosen = "onednn" if taken else "default"
    _log.info("matrix products measured", extra=fields(taken=chosen, **times, onednn_error=error))
    return taken


def _seconds(x: torch.Tensor, weight: torch.Tensor) -> float:
    """The shortest time of one product, out of many."""
    return min(timeit.repeat(lambda: torch.mm(x, weight.t()), number=1, repeat=50))
