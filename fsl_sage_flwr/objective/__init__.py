"""Objectives: loss, reported scores and valid labels of a task."""

from .binary import binary
from .classification import classification
from .multi_label import multi_label
from .objective import Loss, Objective, Score, as_float, everywhere, in_full, logits_of, scores_of
from .regression import regression
from .segmentation import segmentation

__all__ = [
    "Loss",
    "Objective",
    "Score",
    "as_float",
    "binary",
    "classification",
    "everywhere",
    "in_full",
    "logits_of",
    "multi_label",
    "regression",
    "scores_of",
    "segmentation",
]
