"""The objective of giving every pixel a class."""

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
    """Return the objective of giving every pixel a class.

    Labels are whole numbers ``(B, *label_shape)``, outputs are scores
    ``(B, num_classes, *label_shape)``. What counts is the pixel: means and averages are over those
    that have a class, not over images.

    Parameters
    ----------
    num_classes : int
        Labels are in ``range(num_classes)``, or ``ignored``.
    label_shape : tuple of int
        Of an image's label map, ``(H, W)``.
    ignored : int
        The label of pixels that have no class.

    Returns
    -------
    Objective
        Reports ``pixel_accuracy``; for each class ``iou_0``, ``iou_1``, …, the pixels that are
        rightly given it over those that are given it or have it, of all images together; and
        ``mean_iou``, the mean of those of classes that there are.
    """
    highest = num_classes - 1 if ignored != num_classes - 1 else num_classes - 2
    names = tuple(f"iou_{k}" for k in range(num_classes))

    def loss(output: Any, labels: Tensor) -> Tensor:
        scores = logits_of(output)
        if not counted(labels):
            return scores.sum() * 0.0  # and can be differentiated
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
