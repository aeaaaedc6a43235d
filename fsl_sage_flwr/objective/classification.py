"""Objective of single-label classification."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .objective import Loss, Objective, scores_of

WHOLE_NUMBERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def classification(
    num_classes: int,
    loss: Loss | None = None,
    *,
    label_shape: tuple[int, ...] = (),
    ignored: int | None = None,
    class_axis: int = 1,
) -> Objective:
    """Return the objective of single-label classification.

    Parameters
    ----------
    num_classes : int
        Labels are integers of any dtype in ``range(num_classes)``.
    loss : callable, optional
        Mean loss of (output, labels); by default the cross-entropy of :func:`scores_of`.
    label_shape : tuple of int
        Shape of one sample's labels: empty for one class, ``(H, W)`` for a label map, ``(T,)`` for
        a sequence. Scores are then ``(B, num_classes, H, W)``, as ``cross_entropy`` expects them.
    ignored : int, optional
        Label without a class, such as -100: it counts neither in the loss nor in averages, which
        are then over labels. A loss of the user's must leave it out too.
    class_axis : int
        Axis of the classes in the scores: -1 for a token classifier's ``(B, T, num_classes)``.

    Returns
    -------
    Objective
        Reports ``accuracy``, the share of labels with the highest score.
    """

    def mean_loss(output: Any, labels: Tensor) -> Tensor:
        if loss is not None:
            return loss(output, labels)
        given = by_class(output)
        if ignored is None:
            return cross_entropy(given, labels)
        if not counted(labels):
            return given.sum() * 0.0  # differentiable
        return F.cross_entropy(*in_rows(given, labels), ignore_index=ignored)

    def by_class(output: Any) -> Tensor:
        given = scores_of(output)
        return given if class_axis == 1 else given.movedim(class_axis, 1)

    def counted(labels: Tensor) -> int:
        return labels.numel() if ignored is None else int(labels.ne(ignored).sum())

    def scores(output: Any, labels: Tensor) -> Mapping[str, tuple[float, float]]:
        right = by_class(output).argmax(dim=1).eq(labels).sum()
        return {"accuracy": (int(right), counted(labels))}

    def problem_with(labels: Tensor) -> str | None:
        return problem_with_classes(labels, num_classes, label_shape, ignored)

    def example_labels(count: int) -> Tensor:
        return torch.full((count, *label_shape), num_classes - 1)

    return Objective(
        lambda output, labels: mean_loss(output, labels.long()),
        scores,
        ("accuracy",),
        problem_with,
        example_labels,
        count=len if ignored is None else counted,
    )


def cross_entropy(output: Any, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of class scores and labels."""
    return F.cross_entropy(*in_rows(scores_of(output), labels))


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
        given = f"{labels.dtype} {tuple(labels.shape)}"
        return f"labels must be {wanted}, not {given}; {_objective_for(labels)}"
    known = labels if ignored is None else labels[labels != ignored]
    if ignored is not None and not len(known):
        return None
    if not 0 <= int(known.min()) <= int(known.max()) < num_classes:
        more = "" if ignored is None else f", and {ignored}"
        smallest = int(known.min())
        if ignored is None and smallest < 0:
            more = (
                f"; to leave out {smallest}, give objective=classification(…, ignored={smallest})"
            )
        return (
            f"labels run from {smallest} to {int(known.max())}; valid are 0 to "
            f"{num_classes - 1}{more}"
        )
    return None


def _objective_for(labels: Tensor) -> str:
    """Return which objective takes such labels."""
    if labels.is_floating_point() and labels.dim() == 1:
        return "give objective=binary() for a model with one logit, regression() for numbers"
    if labels.is_floating_point():
        return "give objective=multi_label(L), or one with a loss of soft labels"
    shape = tuple(labels.shape[1:])
    return f"give classification or segmentation with label_shape={shape}, or labels of this shape"
