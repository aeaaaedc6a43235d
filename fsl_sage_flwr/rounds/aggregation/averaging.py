"""Weighted averages of state_dicts, as Flower's FedAvg computes them."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ...messages.records import sendable


def average(states: Iterable[Mapping[str, Tensor]], weights: Sequence[float]) -> dict[str, Tensor]:
    """Return the weighted average, integer buffers rounded to integers.

    Summed in the order given, in NumPy, as Flower's FedAvg does: the same states and
    weights give the same bits there and here. A tensor that is equal in all states, such as a
    frozen one, keeps its bits, which a rounded mean need not.

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
    equal: dict[str, np.ndarray] | None = None
    for state, weight in zip(states, weights, strict=True):
        arrays = {name: sendable(tensor.detach()).cpu().numpy() for name, tensor in state.items()}
        if equal is None:
            equal = arrays
        equal = {n: first for n, first in equal.items() if np.array_equal(first, arrays[n])}
        for name, values in arrays.items():
            part = values * (weight / total)
            sums[name] = sums[name] + part if name in sums else part
            dtypes.setdefault(name, values.dtype)
    means = {name: as_dtype(values, dtypes[name]) for name, values in sums.items()}
    means |= {name: values.copy() for name, values in (equal or {}).items()}
    return {name: torch.from_numpy(np.asarray(values)) for name, values in means.items()}


def weighted_mean(pairs: Sequence[tuple[float, int]]) -> float | None:
    """Return the mean of (value, weight) pairs, or None if there is none."""
    total = sum(weight for _, weight in pairs)
    return sum(value * weight for value, weight in pairs) / total if total else None


def as_dtype(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return values in a dtype, rounded if that is an integer one."""
    if np.issubdtype(dtype, np.integer):
        values = np.rint(values)
    return np.asarray(values).astype(dtype)
