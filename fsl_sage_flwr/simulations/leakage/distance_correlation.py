"""Distance correlation of two random vectors, of whatever dimensions."""

import math

import torch
from torch import Tensor


def distance_correlation(first: Tensor, second: Tensor) -> float:
    """Return the bias-corrected distance correlation of paired samples.

    0 for independent vectors, 1 for those that a shift, a rotation and a scale turn into each
    other (Székely, Rizzo and Bakirov 2007). The plain statistic goes to 1 as the dimension
    outgrows the sample, whether or not anything depends on anything: pixels and activations
    have thousands. This is the bias-corrected one of Székely and Rizzo (2013, "The distance
    correlation t-test of independence in high dimension"), from U-centred distances, and its
    square root, so that it is on the usual scale; where the corrected square is below zero,
    0 is returned.

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
        There are fewer than four samples, or not as many in both.
    """
    count = len(first)
    if count < 4 or len(second) != count:
        raise ValueError(
            f"{count} and {len(second)} samples: as many of both are needed, and at least 4"
        )
    a, b = _centred_distances(first), _centred_distances(second)
    # Both sums are divided by N(N - 3) in the definition, which cancels here.
    variances = float((a * a).sum()) * float((b * b).sum())
    if variances == 0:
        return 0.0
    square = float((a * b).sum()) / math.sqrt(variances)
    return math.sqrt(max(square, 0.0))


def _centred_distances(samples: Tensor) -> Tensor:
    """Return the U-centred distance matrix, ``(N, N)``, float64."""
    flat = samples.reshape(len(samples), -1).double()
    # Without the quick way by matrix products, which loses digits of small distances.
    distances = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")
    count = len(flat)
    rows = distances.sum(dim=1) / (count - 2)
    centred: Tensor = (
        distances - rows[:, None] - rows[None, :] + distances.sum() / ((count - 1) * (count - 2))
    )
    return centred.fill_diagonal_(0.0)
