"""Read, compare and draw the results of runs."""

from .load_results import ResultsError, load_results

__all__ = ["ResultsError", "load_results"]
