"""Weighted averages of state_dicts, as Flower's FedAvg computes them."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor


def average(states: Iterable[Mapping[str, Tensor]], weights: Sequence[float]) -> dict[str, Tensor]:
    """Return the weighted average, integer buffers rounded to integers.

    Summed in the order given, in NumPy, as Flower's FedAvg does: the same states and
    weights give the same bits there and here.

    Parameters
    ----------
    states : iterable of Mapping
        At least one; all with the same names, shapes and dtypes. One is in memory at a time.
    weights : sequence of float
        Positive; they need not add up to one.
    """
    total = sum(weights)
    sums: dict[str, np.ndarray] = {}
    dtypes: dict[str, np.dtype] = {}
    for state, weight in zip(states, weights, strict=True):
        for name, tensor in state.items():
            values = tensor.detach().cpu().numpy()
            part = values * (weight / total)
            sums[name] = sums[name] + part if name in sums else part
            dtypes.setdefault(name, values.dtype)
    return {
        name: torch.from_numpy(np.asarray(as_dtype(values, dtypes[name])))
        for name, values in sums.items()
    }


def weighted_mean(pairs: Sequence[tuple[float, int]]) -> float | None:
    """Return the mean of (value, weight) pairs, or None if there is none."""
    total = sum(weight for _, weight in pairs)
    return sum(value * weight for value, weight in pairs) / total if total else None


def as_dtype(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return values in a dtype, rounded if that is an integer one."""
    if np.issubdtype(dtype, np.integer):
        values = np.rint(values)
    return np.asarray(values).astype(dtype)
