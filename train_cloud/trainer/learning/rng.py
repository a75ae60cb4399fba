"""The states of the random generators that learning draws from, as bytes and back; no pickle."""

import io
import random
from typing import Any

import numpy as np
import torch


def pack_generators() -> bytes:
    """The states of Python's, numpy's and torch's global generators (CUDA's current one included) as an .npz."""
    _, key, position, has_gauss, cached = np.random.get_state(legacy=True)
    version, words, gauss = random.getstate()
    states: dict[str, Any] = {
        "python_version": np.int64(version),
        "python_words": np.array(words, np.uint64),
        "python_gauss": np.array([] if gauss is None else [gauss], np.float64),
        "numpy_key": key,
        "numpy_position": np.array([position, has_gauss], np.int64),
        "numpy_cached": np.float64(cached),
        "torch_cpu": torch.get_rng_state().numpy(),
    }
    if torch.cuda.is_available():
        states["torch_cuda"] = torch.cuda.get_rng_state().cpu().numpy()
    data = io.BytesIO()
    np.savez(data, **states)
    return data.getvalue()


def restore_generators(data: bytes) -> None:
    """Put the generators back into the packed states; CUDA's only where there is CUDA on both sides."""
    with np.load(io.BytesIO(data), allow_pickle=False) as states:
        gauss = states["python_gauss"]
        words = tuple(int(word) for word in states["python_words"])
        random.setstate((int(states["python_version"]), words, float(gauss[0]) if len(gauss) else None))
        position, has_gauss = (int(value) for value in states["numpy_position"])
        np.random.set_state(("MT19937", states["numpy_key"], position, has_gauss, float(states["numpy_cached"])))
        torch.set_rng_state(torch.from_numpy(states["torch_cpu"]))
        if "torch_cuda" in states and torch.cuda.is_available():
            torch.cuda.set_rng_state(torch.from_numpy(states["torch_cuda"]))
