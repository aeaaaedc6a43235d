"""Split-learning algorithms as Flower strategies."""

from ..messages import DeadActorError
from .aggregation import Aggregation
from .client_round import ClientRound
from .cse_fsl import CseFsl
from .diverged import DivergedError
from .evaluation import evaluate_halves, to_record
from .fed_avg import FullModelFedAvg
from .fsl_sage import FslSage
from .given_up import TrainingFailedError
from .heron_sfl import HeronSfl
from .part import Part
from .question import Question, Questions
from .round import Round
from .round_summary import RoundSummary
from .server_half import OneServerHalf, ServerHalfPerClient
from .settings import StrategySettings
from .shared_head import SharedHead
from .sl_multi_server import SplitFedV1
from .sl_single_server import SplitFedV2
from .split_grid import SplitGrid
from .split_strategy import SplitStrategy
from .virtual_clients import VirtualClients

__all__ = [
    "Aggregation",
    "ClientRound",
    "CseFsl",
    "DeadActorError",
    "DivergedError",
    "FslSage",
    "FullModelFedAvg",
    "HeronSfl",
    "OneServerHalf",
    "Part",
    "Question",
    "Questions",
    "Round",
    "RoundSummary",
    "ServerHalfPerClient",
    "SharedHead",
    "SplitFedV1",
    "SplitFedV2",
    "SplitGrid",
    "SplitStrategy",
    "StrategySettings",
    "TrainingFailedError",
    "VirtualClients",
    "evaluate_halves",
    "to_record",
]
