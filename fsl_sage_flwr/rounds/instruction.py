"""A message to a client, and the reply that it must give."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..messages import Reply, ReplySchema, Request

ReplyT = TypeVar("ReplyT", bound=Reply)


@dataclass(frozen=True)
class Instruction(Generic[ReplyT]):
    """A request to one client, and what its reply must look like.

    Attributes
    ----------
    message_type : str
        Selects the client's handler.
    request : Request
        Payload of the message.
    reply : type
        Payload of the reply. A ``TrainReply`` is a client's last one in a round: it counts for
        the average.
    expected : ReplySchema
        What the reply must look like.
    sample_uploads : int, optional
        Largest number of times that one training sample is in the smashed data of the reply and
        of later replies whose instructions say 0. By default once in each local epoch where
        smashed data are expected.
    problem : callable, optional
        From a reply that fits ``expected`` to what is wrong with it, in one line, or None.
    """

    message_type: str
    request: Request
    reply: type[ReplyT]
    expected: ReplySchema
    sample_uploads: int | None = None
    problem: Callable[[ReplyT], str | None] | None = None


Instructions = Mapping[int, Instruction[ReplyT]]
"""Instructions by partition id."""

Replies = Iterator[tuple[int, ReplyT]]
"""Valid replies, each with its client's partition id."""
