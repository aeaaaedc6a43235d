"""Everything that crosses the network, and how many bytes it is."""

from .describe import DESCRIBE, NodeDescription
from .fsl_sage import PROBE, TRAIN, ProbeRequest, TrainReply, TrainRequest
from .ledger import CommunicationLedger, Direction
from .records import BadReplyError, MissingPayloadError
from .smashed import SmashedBatches, SmashedSpec

__all__ = [
    "DESCRIBE",
    "PROBE",
    "TRAIN",
    "BadReplyError",
    "CommunicationLedger",
    "Direction",
    "MissingPayloadError",
    "NodeDescription",
    "ProbeRequest",
    "SmashedBatches",
    "SmashedSpec",
    "TrainReply",
    "TrainRequest",
]
