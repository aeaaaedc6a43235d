"""Everything that crosses the network, and how many bytes it is."""

from .describe import DESCRIBE, NodeDescription
from .evaluation import EVALUATE_FULL_MODEL, EVALUATE_SPLIT, EvaluateReply
from .ledger import CommunicationLedger, Direction
from .records import BadReplyError, MissingPayloadError, place_of
from .reply import DeadActorError, content_of, discard
from .smashed import SmashedBatches, SmashedSpec, change_smashed
from .split_fed import (
    SPLIT_FED_EXCHANGE,
    SPLIT_FED_FLUSH,
    ExchangeReply,
    ExchangeRequest,
    join_gradients,
)
from .training import (
    CSE_FSL_TRAIN,
    FED_AVG_TRAIN,
    FSL_SAGE_TRAIN,
    TrainReply,
    TrainRequest,
    Upload,
)
from .weights import FSL_SAGE_PROBE, WeightsRequest

__all__ = [
    "CSE_FSL_TRAIN",
    "DESCRIBE",
    "EVALUATE_FULL_MODEL",
    "EVALUATE_SPLIT",
    "FED_AVG_TRAIN",
    "FSL_SAGE_PROBE",
    "FSL_SAGE_TRAIN",
    "SPLIT_FED_EXCHANGE",
    "SPLIT_FED_FLUSH",
    "BadReplyError",
    "CommunicationLedger",
    "DeadActorError",
    "Direction",
    "EvaluateReply",
    "ExchangeReply",
    "ExchangeRequest",
    "MissingPayloadError",
    "NodeDescription",
    "SmashedBatches",
    "SmashedSpec",
    "TrainReply",
    "TrainRequest",
    "Upload",
    "WeightsRequest",
    "change_smashed",
    "content_of",
    "discard",
    "join_gradients",
    "place_of",
]
