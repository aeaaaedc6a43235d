"""Objective of binary classification by one logit."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .multi_label import DTYPES
from .objective import Objective, in_full, scores_of


def binary(*, pos_weight: float | None = None) -> Objective:
    """Return the objective of binary classification by one logit per sample.

    Labels are ``(B,)`` or ``(B, 1)``, 0 or 1, as float32, bool or integers; the output has one
    logit per sample, ``(B,)`` or ``(B, 1)``. The loss is that of ``BCEWithLogitsLoss``.

    Parameters
    ----------
    pos_weight : float, optional
        Weight of the samples with label 1 in the loss, 1 by default.

    Returns
    -------
    Objective
        A sample is predicted as 1 where its logit is above 0. Reports ``accuracy``.
    """

    def loss(output: Any, labels: Tensor) -> Tensor:
        logits = in_full(scores_of(output)).reshape(labels.shape)
        weight = None if pos_weight is None else logits.new_tensor(pos_weight)
        return F.binary_cross_entropy_with_logits(
            logits, labels.to(logits.dtype), pos_weight=weight
        )

    def scores(output: Any, labels: Tensor) -> Mapping[str, tuple[float, float]]:
        right = (scores_of(output).reshape(labels.shape) > 0) == (labels > 0)
        return {"accuracy": (int(right.sum()), len(labels))}

    def problem_with(labels: Tensor) -> str | None:
        if labels.dtype not in DTYPES or tuple(labels.shape[1:]) not in ((), (1,)):
            wanted = "float32, bool or whole numbers ('N',) or ('N', 1)"
            return f"labels must be {wanted}, not {labels.dtype} {tuple(labels.shape)}"
        return None if bool(((labels == 0) | (labels == 1)).all()) else "labels must be 0 or 1"

    return Objective(loss, scores, ("accuracy",), problem_with, torch.zeros)
