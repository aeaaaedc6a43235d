"""Objective of multi-label classification."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .classification import WHOLE_NUMBERS
from .objective import Objective, Score, logits_of

DTYPES = (torch.float32, torch.bool, *WHOLE_NUMBERS)


def multi_label(num_labels: int) -> Objective:
    """Return the objective of multi-label classification.

    Labels are ``(B, num_labels)``, 0 or 1, as float32, bool or integers; outputs are logits of the
    same shape. The loss is the binary cross-entropy, averaged over samples and labels.

    Parameters
    ----------
    num_labels : int
        Labels per sample.

    Returns
    -------
    Objective
        A label is predicted where its logit is above 0. Reports ``label_accuracy``, the share of
        correct labels; ``precision``; ``recall``; and ``f1``, the harmonic mean of these two.
        Samples and labels are pooled (micro-averages).
    """

    def loss(output: Any, labels: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits_of(output), labels.float())

    def scores(output: Any, labels: Tensor) -> Mapping[str, tuple[float, float]]:
        said, holds = logits_of(output) > 0, labels > 0
        both = int((said & holds).sum())
        return {
            "label_accuracy": (int((said == holds).sum()), labels.numel()),
            "precision": (both, int(said.sum())),
            "recall": (both, int(holds.sum())),
        }

    def f1(loss: float, found: Mapping[str, Score]) -> float:
        if not found["precision"].weight + found["recall"].weight:
            return math.nan
        precision, recall = (
            found[name].value if found[name].weight else 0.0 for name in ("precision", "recall")
        )
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    def problem_with(labels: Tensor) -> str | None:
        if tuple(labels.shape[1:]) != (num_labels,) or labels.dtype not in DTYPES:
            wanted = f"float32, bool or whole numbers {('N', num_labels)}"
            return f"labels must be {wanted}, not {labels.dtype} {tuple(labels.shape)}"
        return None if bool(((labels == 0) | (labels == 1)).all()) else "labels must be 0 or 1"

    return Objective(
        loss,
        scores,
        ("label_accuracy", "precision", "recall"),
        problem_with,
        lambda count: torch.zeros(count, num_labels),
        derived={"f1": f1},
    )
