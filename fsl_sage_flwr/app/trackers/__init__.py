"""Where a run's rounds are shown beside its own ``history.csv``: TensorBoard, Weights & Biases."""

from .opening import TRACKERS, open_tracker, require
from .tracker import Tracker, TrackerError

__all__ = ["TRACKERS", "Tracker", "TrackerError", "open_tracker", "require"]
