"""Objective of semantic segmentation."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .classification import in_rows, problem_with_classes
from .objective import Objective, Score, logits_of


def segmentation(
    num_classes: int, label_shape: tuple[int, ...], *, ignored: int = 255
) -> Objective:
    """Return the objective of semantic segmentation.

    Labels are integers ``(B, *label_shape)``, outputs scores ``(B, num_classes, *label_shape)``.
    Means and averages are over the pixels with a class, not over images.


    Parameters
    ----------
    num_classes : int
        Labels are in ``range(num_classes)``, or ``ignored``.
    label_shape : tuple of int
        Shape of an image's label map, ``(H, W)``.
    ignored : int
        Label of pixels without a class.

    Returns
    -------
    Objective
        Reports ``pixel_accuracy``; for each class the intersection over union ``iou_0``, ``iou_1``,
        …, pooled over all images; and ``mean_iou``, their mean over the classes that occur.
    """
    highest = num_classes - 1 if ignored != num_classes - 1 else num_classes - 2
    names = tuple(f"iou_{k}" for k in range(num_classes))

    def loss(output: Any, labels: Tensor) -> Tensor:
        scores = logits_of(output)
        if not counted(labels):
            return scores.sum() * 0.0  # differentiable
        return F.cross_entropy(*in_rows(scores, labels.long()), ignore_index=ignored)

    def counted(labels: Tensor) -> int:
        return int((labels != ignored).sum())

    def scores(output: Any, labels: Tensor) -> Mapping[str, tuple[float, float]]:
        given_scores = logits_of(output).shape[1]
        if given_scores != num_classes:
            raise ValueError(
                f"{given_scores} scores a pixel along axis 1, and {num_classes} classes"
            )
        counts = labels != ignored
        given, true = logits_of(output).argmax(dim=1)[counts], labels[counts].long()
        right = torch.bincount(true[given == true], minlength=num_classes)
        has, got = (torch.bincount(one, minlength=num_classes) for one in (true, given))
        either = has + got - right
        of_classes = zip(names, right.tolist(), either.tolist(), strict=True)
        accuracy = {"pixel_accuracy": (int(right.sum()), len(true))}
        return accuracy | {name: (both, all_) for name, both, all_ in of_classes}

    def mean_iou(loss: float, found: Mapping[str, Score]) -> float:
        there = [found[name].value for name in names if found[name].weight]
        return sum(there) / len(there) if there else math.nan

    return Objective(
        loss,
        scores,
        ("pixel_accuracy", *names),
        lambda labels: problem_with_classes(labels, num_classes, label_shape, ignored),
        lambda count: torch.full((count, *label_shape), highest),
        count=counted,
        derived={"mean_iou": mean_iou},
    )
