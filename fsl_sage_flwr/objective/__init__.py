"""Objectives: loss, reported scores and valid labels of a task."""

from .classification import classification
from .multi_label import multi_label
from .objective import Loss, Objective, Score, as_float, everywhere, logits_of
from .regression import regression
from .segmentation import segmentation

__all__ = [
    "Loss",
    "Objective",
    "Score",
    "as_float",
    "classification",
    "everywhere",
    "logits_of",
    "multi_label",
    "regression",
    "segmentation",
]
