"""Compute the distance correlation of two random vectors of any dimensions."""

import math

import torch
from torch import Tensor


def distance_correlation(first: Tensor, second: Tensor) -> float:
    """Return the bias-corrected distance correlation of paired samples.

    It is 0 for independent vectors, and 1 if a shift, a rotation and a scaling turn one vector into
    the other (Székely, Rizzo and Bakirov 2007). The plain statistic tends to 1 with many more
    dimensions than samples, even for independent vectors; pixels and activations have thousands.
    This is therefore the bias-corrected statistic of Székely and Rizzo (2013, "The distance
    correlation t-test of independence in high dimension"), from U-centred distances. Its square
    root is returned, on the usual scale; a negative corrected square gives 0.

    Parameters
    ----------
    first, second : Tensor
        ``(N, …)``, the same samples in the same order; at least four.

    Returns
    -------
    float
        0 to 1.

    Raises
    ------
    ValueError
        There are fewer than four samples, or the two numbers of samples differ.
    """
    count = len(first)
    if count < 4 or len(second) != count:
        raise ValueError(
            f"{count} and {len(second)} samples: both must have the same number, at least 4"
        )
    a, b = _centred_distances(first), _centred_distances(second)
    # The definition divides both sums by N(N - 3), which cancels here.
    variances = float((a * a).sum()) * float((b * b).sum())
    if variances == 0:
        return 0.0
    square = float((a * b).sum()) / math.sqrt(variances)
    return math.sqrt(max(square, 0.0))


def _centred_distances(samples: Tensor) -> Tensor:
    """Return the U-centred distance matrix, ``(N, N)``, float64."""
    flat = samples.reshape(len(samples), -1).double()
    # Matrix products would be faster but lose precision for small distances.
    distances = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")
    count = len(flat)
    rows = distances.sum(dim=1) / (count - 2)
    centred: Tensor = (
        distances - rows[:, None] - rows[None, :] + distances.sum() / ((count - 1) * (count - 2))
    )
    return centred.fill_diagonal_(0.0)
