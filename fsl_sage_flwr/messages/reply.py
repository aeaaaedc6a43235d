"""Open a reply: read its content, or refuse it."""

from typing import TypeVar

from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from ..units import mib
from .arrays import declared_bytes, is_coded
from .fields import ReplySchema
from .payload import Reply
from .reason import error_text, in_short
from .records import BadReplyError

ReplyT = TypeVar("ReplyT", bound=Reply)

# Flower's code for an error of the simulation itself; a ClientApp's error has another.
NOT_FROM_CLIENT_APP = 0
EMPTY: tuple[object, ...] = ("", b"", [])


class DeadActorError(RuntimeError):
    """An actor of the simulation has died; Flower keeps sending it messages."""


class SimulationError(Error):
    """Error of Flower's simulation itself, in place of a client's reply.

    Only the Grid of a simulation makes one. An error that travels is Flower's plain ``Error``,
    whatever its code and text: no node can end a run with it.
    """


def count_bytes(record: ArrayRecord | MetricRecord | ConfigRecord) -> int:
    """Return the bytes of a record, by Flower's own count.

    Flower's count raises on a ConfigRecord with an empty value, which a sender may choose.
    """
    if not isinstance(record, ConfigRecord):
        return record.count_bytes()
    full = ConfigRecord({key: value for key, value in record.items() if value not in EMPTY})
    return full.count_bytes() + sum(len(key) for key in record if key not in full)


def open_reply(reply: Message, kind: type[ReplyT], expected: ReplySchema, max_bytes: int) -> ReplyT:
    """Open a reply of any sender: the one place where replies are read or refused.

    Parameters
    ----------
    reply : Message
        The reply as received. A refused one is emptied: Flower keeps it until the round ends.
    kind : type
        Payload that the reply must carry.
    expected : ReplySchema
        Schema of the payload.
    max_bytes : int
        Limit on the content in bytes, before and after decoding.

    Returns
    -------
    Reply
        The payload; the arrays that Flower averages stay in the message.

    Raises
    ------
    BadReplyError
        The reply cannot be used, for the reason in the text.
    DeadActorError
        The reply is an error of the simulation itself.
    """
    try:
        return kind.open(content_of(reply, max_bytes), expected)
    except BadReplyError as error:
        discard(reply)
        # It may quote names that the sender chose, of any length.
        raise BadReplyError(in_short(str(error))) from error


def content_of(reply: Message, max_bytes: int) -> RecordDict:
    """Return a reply's content.

    Raises
    ------
    BadReplyError
        The reply is an error, has no content, or has more than ``max_bytes`` of it.
    DeadActorError
        The reply is an error of the simulation itself. The simulation returns the actor to its
        pool, and every further message to it fails.
    """
    if reply.has_error():
        reason = str(reply.error.reason)
        if isinstance(reply.error, SimulationError):
            raise DeadActorError(
                "a Ray actor has died or cannot run a client, and Flower keeps sending it "
                "clients. Out of memory: run fewer clients at once (fsl-sage run --cpus) or lower "
                "batch-size. A lost machine of a Ray cluster: the others suffice. Then resume with "
                f"resume=…/checkpoints/latest.pt. The simulation reports: {in_short(reason)}"
            )
        raise BadReplyError(error_text(reply.error.code, reason))
    if not reply.has_content():
        raise BadReplyError("a reply without content")
    size = sum(count_bytes(record) for record in reply.content.values())
    # Not by array_records, which keeps the arrays of a refused reply alive.
    records = [record for record in reply.content.values() if isinstance(record, ArrayRecord)]
    size += sum(_more_when_decoded(record) for record in records)
    if size > max_bytes:
        raise BadReplyError(
            f"a reply of {mib(size)} MiB; at most {mib(max_bytes)} are taken (max-reply-mib)"
        )
    return reply.content


def _more_when_decoded(record: ArrayRecord) -> int:
    """Return the bytes that decoding adds to a record, as its coded arrays declare them.

    Raises
    ------
    BadReplyError
        An array declares an impossible size.
    """
    try:
        coded = [array for array in record.values() if is_coded(array)]
        return sum(max(0, declared_bytes(array) - len(array.data)) for array in coded)
    except ValueError as error:
        raise BadReplyError(f"a coded array: {error}") from error


def discard(reply: Message) -> None:
    """Empty a refused reply, which Flower keeps until the round ends."""
    if reply.has_content():
        for name in list(reply.content):
            del reply.content[name]
