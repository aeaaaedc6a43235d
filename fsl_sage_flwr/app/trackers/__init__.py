"""Show a run's rounds in a tracker of experiments, in addition to ``history.csv``."""

from .opening import TRACKERS, open_tracker, require
from .tracker import Tracker, TrackerError

__all__ = ["TRACKERS", "Tracker", "TrackerError", "open_tracker", "require"]
