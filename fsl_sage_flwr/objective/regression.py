"""Objective of regression."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .objective import Loss, Objective, logits_of


def regression(label_shape: tuple[int, ...] = (), loss: Loss | None = None) -> Objective:
    """Return the objective of regression.

    Parameters
    ----------
    label_shape : tuple of int
        Shape of one sample's labels, float32; the output has as many values.
    loss : callable, optional
        Mean loss of (output, labels); by default the mean squared error.

    Returns
    -------
    Objective
        Reports ``mean_absolute_error``.
    """

    def squared_error(output: Any, labels: Tensor) -> Tensor:
        return F.mse_loss(logits_of(output).reshape(labels.shape), labels)

    def scores(output: Any, labels: Tensor) -> Mapping[str, tuple[float, float]]:
        distance = (logits_of(output).reshape(labels.shape) - labels).abs().sum()
        return {"mean_absolute_error": (float(distance), labels.numel())}

    def problem_with(labels: Tensor) -> str | None:
        if labels.dtype != torch.float32 or tuple(labels.shape[1:]) != label_shape:
            return (
                f"labels must be float32 {('N', *label_shape)}, not {labels.dtype} "
                f"{tuple(labels.shape)}"
            )
        return None if bool(torch.isfinite(labels).all()) else "labels hold NaN or infinite values"

    def example_labels(count: int) -> Tensor:
        return torch.zeros(count, *label_shape)

    name = ("mean_absolute_error",)
    return Objective(loss or squared_error, scores, name, problem_with, example_labels)
