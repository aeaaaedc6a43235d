"""Choose clients whose updates lie close together: Krum's scores, on distances in float64."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

COLUMNS = 2**16  # values of each client in float64 at a time

Trained = Sequence[Mapping[str, Tensor]]
"""What one client trained, part by part: the client half, then its head or server half."""


def squared_distances(trained: Sequence[Trained]) -> Tensor:
    """Compute the squared Euclidean distances between clients' updates, ``(n, n)`` in float64.

    All clients began at the same weights, so the distance between two updates is that between
    the two results. Integer tensors are left out: a counter of batches tells how many a client
    has, and is larger than any update. Differences are taken value by value, because
    ``|x|² + |y|² - 2xy`` cancels when updates are small beside the weights.

    Parameters
    ----------
    trained : sequence
        Of each of ``n`` clients the same parts, with the same names and shapes.
    """
    count = len(trained)
    pairs = torch.zeros(count * (count - 1) // 2, dtype=torch.float64)
    for of_part in zip(*trained, strict=True):
        for name, first in of_part[0].items():
            if first.is_floating_point():
                rows = torch.stack([state[name].detach().cpu().flatten() for state in of_part])
                for columns in torch.split(rows, COLUMNS, dim=1):
                    pairs += torch.pdist(columns.double()).square()
    found = torch.zeros(count, count, dtype=torch.float64)
    found[tuple(torch.triu_indices(count, count, 1))] = pairs
    return found + found.T


def closest(distances: Tensor, malicious: int, wanted: int) -> list[int]:
    """Return the places of the clients with the lowest Krum scores, ascending.

    A client's score is the sum of its squared distances to the ``n - malicious - 2`` clients
    nearest to it (Blanchard et al., NeurIPS 2017).

    Parameters
    ----------
    distances : Tensor
        ``(n, n)``, squared.
    malicious : int
        Clients that may be malicious.
    wanted : int
        Clients that are chosen; of equal scores the first.
    """
    nearest = max(1, len(distances) - malicious - 2)
    # The smallest in each row is a client's distance to itself.
    scores = distances.sort(dim=1).values[:, 1 : nearest + 1].sum(dim=1)
    return sorted(scores.argsort(stable=True)[:wanted].tolist())
