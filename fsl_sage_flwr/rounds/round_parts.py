"""The parts of a round that its phases share."""

from dataclasses import dataclass

from ..messages import PackedWeights
from .checks.batch_limits import BatchCounts
from .exclusions import Exclusions
from .messenger import Messenger
from .round_settings import RoundSettings


@dataclass
class RoundParts:
    """What a round needs to send messages, and to read and refuse replies.

    Attributes
    ----------
    client_half : PackedWeights
        The average at the begin of the round, packed once for all messages; empty once the round
        is closed.
    settings : RoundSettings
        What the strategy demands of all its rounds.
    messenger : Messenger
        Packs messages and opens replies.
    exclusions : Exclusions
        Clients that are excluded from the round.
    batches : BatchCounts
        Batches of the round's clients.
    """

    client_half: PackedWeights
    settings: RoundSettings
    messenger: Messenger
    exclusions: Exclusions
    batches: BatchCounts
