"""Objective of single-label classification."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .objective import Loss, Objective, logits_of

WHOLE_NUMBERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def classification(
    num_classes: int, loss: Loss | None = None, *, label_shape: tuple[int, ...] = ()
) -> Objective:
    """Return the objective of single-label classification.

    Parameters
    ----------
    num_classes : int
        Labels are integers of any dtype in ``range(num_classes)``.
    loss : callable, optional
        Mean loss of (output, labels); by default the cross-entropy of :func:`logits_of`.
    label_shape : tuple of int
        Shape of one sample's labels: empty for one class, ``(H, W)`` for a label map, ``(T,)`` for
        a sequence. Scores are then ``(B, num_classes, H, W)``, as ``cross_entropy`` expects them.

    Returns
    -------
    Objective
        Reports ``accuracy``, the share of labels with the highest score.
    """
    own_loss = loss or cross_entropy

    def scores(output: Any, labels: Tensor) -> Mapping[str, tuple[float, float]]:
        right = (logits_of(output).argmax(dim=1) == labels).sum()
        return {"accuracy": (int(right), labels.numel())}

    def problem_with(labels: Tensor) -> str | None:
        return problem_with_classes(labels, num_classes, label_shape)

    def example_labels(count: int) -> Tensor:
        return torch.full((count, *label_shape), num_classes - 1)

    return Objective(
        lambda output, labels: own_loss(output, labels.long()),
        scores,
        ("accuracy",),
        problem_with,
        example_labels,
    )


def cross_entropy(output: Any, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of class scores and labels."""
    return F.cross_entropy(*in_rows(logits_of(output), labels))


def in_rows(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Flatten label maps and sequences to one row per position, on a GPU.

    There the sum over maps has no fixed order; the sum over rows is repeatable.
    """
    if not scores.is_cuda or scores.dim() < 3:
        return scores, labels
    return scores.movedim(1, -1).flatten(0, -2), labels.flatten()


def problem_with_classes(
    labels: Tensor, num_classes: int, label_shape: tuple[int, ...], ignored: int | None = None
) -> str | None:
    """Return the error in class labels, or None when they are valid.

    ``ignored`` is the label of positions without a class, if there are any.
    """
    if labels.dtype not in WHOLE_NUMBERS or tuple(labels.shape[1:]) != label_shape:
        wanted = "one vector of whole numbers"
        if label_shape:
            wanted = f"whole numbers {('N', *label_shape)}"
        return f"labels must be {wanted}, not {labels.dtype} {tuple(labels.shape)}"
    known = labels if ignored is None else labels[labels != ignored]
    if ignored is not None and not len(known):
        return None
    if not 0 <= int(known.min()) <= int(known.max()) < num_classes:
        more = "" if ignored is None else f", and {ignored}"
        return (
            f"labels run from {int(known.min())} to {int(known.max())}; valid are 0 to "
            f"{num_classes - 1}{more}"
        )
    return None
