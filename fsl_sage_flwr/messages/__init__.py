"""Pack, open, check and count the messages between server and clients."""

from .arrays import PackedWeights
from .describe import DESCRIBE, NodeDescription, classes_asked_for, describe_request
from .encoding import Decoder, Encoder
from .evaluation import (
    EVALUATE_FULL_MODEL,
    EVALUATE_SPLIT,
    EVALUATE_TAIL,
    EvaluateReply,
    TailEvaluation,
    UnlabelledReply,
)
from .fields import ReplySchema
from .forget import FORGET
from .ledger import CommunicationLedger
from .outside_a_run import message_outside_a_run
from .payload import (
    Reply,
    Request,
    batch_field,
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
    GRADIENTS,
    SMASHED,
    BadReplyError,
    MissingPayloadError,
    round_and_exchange,
)
from .reply import DeadActorError, SimulationError, open_reply
from .smashed import SmashedBatches, SmashedSpec, change_smashed
from .training import PROXIMAL_MU, TrainReply, TrainRequest
from .virtual_client import VirtualClient
from .weights_request import SmashedReply, WeightsRequest

__all__ = [
    "AUXILIARY",
    "CLIENT_HALF",
    "DESCRIBE",
    "EVALUATE_FULL_MODEL",
    "EVALUATE_SPLIT",
    "EVALUATE_TAIL",
    "FORGET",
    "GRADIENTS",
    "PROXIMAL_MU",
    "SMASHED",
    "BadReplyError",
    "CommunicationLedger",
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
    "TailEvaluation",
    "TrainReply",
    "TrainRequest",
    "UnlabelledReply",
    "VirtualClient",
    "WeightsRequest",
    "batch_field",
    "change_smashed",
    "classes_asked_for",
    "describe_request",
    "figure_field",
    "flag_field",
    "gradients_field",
    "measure_field",
    "message_outside_a_run",
    "open_reply",
    "round_and_exchange",
    "smashed_field",
    "weights_field",
]
