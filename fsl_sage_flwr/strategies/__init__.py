"""Split-learning algorithms as Flower strategies."""

from ..diverged import DivergedError
from ..messages import DeadActorError
from ..rounds.aggregation.aggregation import Aggregation
from ..rounds.asynchrony.options import AsyncOptions
from ..rounds.averaged_state import AveragedState
from ..rounds.client_weights import ClientHalfWeights
from ..rounds.grid.split_grid import SplitGrid
from ..rounds.grid.virtual_clients import VirtualClients
from ..rounds.instruction import Instruction, Instructions
from ..rounds.metrics.client_round import ClientRound
from ..rounds.metrics.evaluation import evaluate_halves, to_record
from ..rounds.metrics.round_summary import RoundSummary
from ..rounds.refused_work import NotFiniteWorkError, RefusedWorkError
from ..rounds.round import Round, RoundBody
from ..rounds.round_counter import TrainingFailedError
from ..rounds.server.server_half import OneServerHalf
from ..rounds.server.server_half_per_client import ServerHalfPerClient
from ..rounds.server.shared_head import SharedHead
from ..rounds.server.smashed_pool import SmashedPool
from ..rounds.split_strategy import SplitStrategy
from ..rounds.strategy_arguments import StrategyArguments, StrategySettings
from ..state import State
from .ampere import Ampere
from .cse_fsl import CseFsl
from .cycle_sl import CycleSl
from .fed_avg import FullModelFedAvg
from .fsl_sage import FslSage
from .heron_sfl import HeronSfl
from .mu_splitfed import MuSplitFed
from .sl_multi_server import SplitFedV1
from .sl_single_server import SplitFedV2
from .split_frozen import SplitFrozen

__all__ = [
    "Aggregation",
    "Ampere",
    "AsyncOptions",
    "AveragedState",
    "ClientHalfWeights",
    "ClientRound",
    "CseFsl",
    "CycleSl",
    "DeadActorError",
    "DivergedError",
    "FslSage",
    "FullModelFedAvg",
    "HeronSfl",
    "Instruction",
    "Instructions",
    "MuSplitFed",
    "NotFiniteWorkError",
    "OneServerHalf",
    "RefusedWorkError",
    "Round",
    "RoundBody",
    "RoundSummary",
    "ServerHalfPerClient",
    "SharedHead",
    "SmashedPool",
    "SplitFedV1",
    "SplitFedV2",
    "SplitFrozen",
    "SplitGrid",
    "SplitStrategy",
    "State",
    "StrategyArguments",
    "StrategySettings",
    "TrainingFailedError",
    "VirtualClients",
    "evaluate_halves",
    "to_record",
]
