"""Split-learning algorithms as Flower strategies."""

from .evaluation import Evaluation, evaluate_halves
from .fsl_sage import FslSage
from .split_grid import SplitGrid
from .split_strategy import RoundSummary, SplitStrategy, TrainingFailedError

__all__ = [
    "Evaluation",
    "FslSage",
    "RoundSummary",
    "SplitGrid",
    "SplitStrategy",
    "TrainingFailedError",
    "evaluate_halves",
]
