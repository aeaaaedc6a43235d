"""Infer training membership of an image from the whole model's loss.

After Yeom, Giacomelli, Fredrikson and Jha, "Privacy risk in machine learning" (CSF 2018): training
samples have less loss, so a threshold separates them.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..batching import batches_of

BATCH = 500


def losses_of(scores: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of each image.

    Parameters
    ----------
    scores : callable
        Whole model in eval mode: maps images ``(N, C, H, W)`` to scores ``(N, K)``.
    images : Tensor
        ``(N, C, H, W)``.
    labels : Tensor
        ``(N,)``.

    Returns
    -------
    Tensor
        ``(N,)``.
    """
    with torch.no_grad():
        found = [
            F.cross_entropy(scores(images[rows]).float(), labels[rows], reduction="none")
            for rows in batches_of(len(labels), BATCH)
        ]
    return torch.cat(found)


def membership_auc(members: Tensor, others: Tensor) -> float:
    """Return how well a threshold on the loss separates training samples from others.

    It is the area under the ROC curve: the probability that a member has less loss than another
    sample. 0.5 is guessing, 1 is certainty.

    Parameters
    ----------
    members, others : Tensor
        Losses of training samples, and of other samples.
    """
    # Imported here because it takes a second.
    from sklearn.metrics import roc_auc_score

    truth = torch.cat([torch.ones(len(members)), torch.zeros(len(others))])
    likely = -torch.cat([members, others]).nan_to_num(posinf=torch.finfo(torch.float32).max)
    return float(roc_auc_score(truth.numpy(), likely.cpu().numpy()))
