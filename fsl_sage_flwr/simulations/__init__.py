"""Run simulations from the command line, and compare their results: ``fsl-sage``."""

from .load_results import ResultsError, load_results

__all__ = ["ResultsError", "load_results"]
