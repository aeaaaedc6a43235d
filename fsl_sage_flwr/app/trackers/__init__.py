"""Show a run's rounds in an experiment tracker, in addition to ``history.csv``."""

from .opening import TRACKERS, open_tracker, require
from .tracker import Tracker, TrackerError

__all__ = ["TRACKERS", "Tracker", "TrackerError", "open_tracker", "require"]
