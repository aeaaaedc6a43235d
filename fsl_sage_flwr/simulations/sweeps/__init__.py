"""Run every combination of lists of settings."""

from .combinations import Combination, combinations
from .finished import finished_runs
from .read import read_sweep
from .shares import share_out
from .sweep import Outcome, sweep

__all__ = [
    "Combination",
    "Outcome",
    "combinations",
    "finished_runs",
    "read_sweep",
    "share_out",
    "sweep",
]
