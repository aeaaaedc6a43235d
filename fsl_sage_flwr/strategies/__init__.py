"""Split-learning algorithms as Flower strategies."""

from ..messages import DeadActorError
from .client_round import ClientRound
from .cse_fsl import CseFsl
from .evaluation import evaluate_halves, to_record
from .fsl_sage import FslSage
from .full_model_fed_avg import FullModelFedAvg
from .round_summary import RoundSummary
from .split_fed_v1 import SplitFedV1
from .split_fed_v2 import SplitFedV2
from .split_grid import SplitGrid
from .split_strategy import DivergedError, SplitStrategy, TrainingFailedError

__all__ = [
    "ClientRound",
    "CseFsl",
    "DeadActorError",
    "DivergedError",
    "FslSage",
    "FullModelFedAvg",
    "RoundSummary",
    "SplitFedV1",
    "SplitFedV2",
    "SplitGrid",
    "SplitStrategy",
    "TrainingFailedError",
    "evaluate_halves",
    "to_record",
]
