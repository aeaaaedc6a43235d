"""Everything that crosses the network, and how many bytes it is."""

from .compression import (
    AS_COMPRESSION_SAYS,
    PRESETS,
    Compression,
    compression_of,
    problem_with_codec,
)
from .describe import DESCRIBE, NodeDescription, classes_asked_for, describe_request
from .evaluation import EVALUATE_FULL_MODEL, EVALUATE_SPLIT, EvaluateReply
from .forget import FORGET
from .kinds import ReplySchema
from .ledger import CommunicationLedger
from .outside_a_run import message_outside_a_run
from .payload import (
    Reply,
    Request,
    figure_field,
    flag_field,
    gradients_field,
    measure_field,
    smashed_field,
    weights_field,
)
from .records import (
    AUXILIARY,
    CLIENT_HALF,
    BadReplyError,
    MissingPayloadError,
    PackedWeights,
    round_and_exchange,
)
from .reply import DeadActorError, SimulationError, open_reply
from .smashed import SmashedBatches, SmashedSpec, change_smashed
from .training import TrainReply, TrainRequest
from .transport import Decoder, Encoder
from .virtual_client import VirtualClient
from .weights_request import SmashedReply, WeightsRequest

__all__ = [
    "AS_COMPRESSION_SAYS",
    "AUXILIARY",
    "CLIENT_HALF",
    "DESCRIBE",
    "EVALUATE_FULL_MODEL",
    "EVALUATE_SPLIT",
    "FORGET",
    "PRESETS",
    "BadReplyError",
    "CommunicationLedger",
    "Compression",
    "DeadActorError",
    "Decoder",
    "Encoder",
    "EvaluateReply",
    "MissingPayloadError",
    "NodeDescription",
    "PackedWeights",
    "Reply",
    "ReplySchema",
    "Request",
    "SimulationError",
    "SmashedBatches",
    "SmashedReply",
    "SmashedSpec",
    "TrainReply",
    "TrainRequest",
    "VirtualClient",
    "WeightsRequest",
    "change_smashed",
    "classes_asked_for",
    "compression_of",
    "describe_request",
    "figure_field",
    "flag_field",
    "gradients_field",
    "measure_field",
    "message_outside_a_run",
    "open_reply",
    "problem_with_codec",
    "round_and_exchange",
    "smashed_field",
    "weights_field",
]
