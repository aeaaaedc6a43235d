"""Show a run's rounds in an experiment tracker, in addition to ``history.csv``."""

from .opening import TRACKERS, TrackerEntry, open_tracker, require
from .tracker import Tracker, TrackerError

__all__ = ["TRACKERS", "Tracker", "TrackerEntry", "TrackerError", "open_tracker", "require"]
