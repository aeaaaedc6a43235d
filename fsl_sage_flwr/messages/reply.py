"""Open a reply, whoever sent it."""

from typing import TypeVar

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from .coding import declared_bytes, is_coded
from .kinds import ReplySchema
from .payload import Reply
from .reason import in_short, reason_of
from .records import BadReplyError
from .simulation import in_simulation

ReplyT = TypeVar("ReplyT", bound=Reply)

# Flower's simulation gives this code to an error that no ClientApp raised.
UNKNOWN, OF_RAY = 0, "ray.exceptions."
EMPTY: tuple[object, ...] = ("", b"", [])


class DeadActorError(RuntimeError):
    """A process of the simulation has died, and Flower goes on giving it messages."""


def count_bytes(record: ArrayRecord | MetricRecord | ConfigRecord) -> int:
    """Return the bytes of a record, by Flower's own count.

    Flower's refuses a ConfigRecord with an empty value, which a sender may well choose.
    """
    if not isinstance(record, ConfigRecord):
        return record.count_bytes()
    full = ConfigRecord({key: value for key, value in record.items() if value not in EMPTY})
    return full.count_bytes() + sum(len(key) for key in record if key not in full)


def open_reply(reply: Message, kind: type[ReplyT], expected: ReplySchema, max_bytes: int) -> ReplyT:
    """Open a reply, whoever sent it: the one place where a reply is read or refused.

    Parameters
    ----------
    reply : Message
        As it came; what a refused one holds is let go of, as Flower keeps it until the round ends.
    kind : type
        The payload that it must carry.
    expected : ReplySchema
        What that must look like.
    max_bytes : int
        Bytes of content that are taken, before and after decoding.

    Returns
    -------
    Reply
        Of that kind; what Flower averages stays in the message.

    Raises
    ------
    BadReplyError
        The reply must not be used; the text says why.
    DeadActorError
        The error says that a Ray actor has died.
    """
    try:
        return kind.open(content_of(reply, max_bytes), expected)
    except BadReplyError as error:
        discard(reply)
        # Names in it are the sender's, as long as it likes.
        raise BadReplyError(in_short(str(error))) from error


def content_of(reply: Message, max_bytes: int) -> RecordDict:
    """Return a reply's content.

    Raises
    ------
    BadReplyError
        The reply is an error, has no content, or more than ``max_bytes`` of it.
    DeadActorError
        The error says that a Ray actor has died. The simulation would give it the next
        messages too, and every one of them fails.
    """
    if reply.has_error():
        reason = str(reply.error.reason)
        # On a SuperLink anybody could say that an actor has died.
        if in_simulation() and reply.error.code == UNKNOWN and OF_RAY in reason:
            raise DeadActorError(
                "a Ray actor has died, and Flower goes on giving it clients. Was it memory? Then "
                "let fewer clients work at once (fsl-sage run --cpus), or lower batch-size. A "
                "machine of a Ray cluster? Then the others will do. Go on with "
                f"resume=…/checkpoints/latest.pt. Ray says: {in_short(reason)}"
            )
        raise BadReplyError(f"error {reply.error.code}: {reason_of(reason)}")
    if not reply.has_content():
        raise BadReplyError("a reply without content")
    size = sum(count_bytes(record) for record in reply.content.values())
    # Not by array_records, which would keep the arrays of a refused reply alive.
    records = [record for record in reply.content.values() if isinstance(record, ArrayRecord)]
    size += sum(_more_when_decoded(record) for record in records)
    if size > max_bytes:
        raise BadReplyError(
            f"a reply of {size / 2**20:,.1f} MiB; at most {max_bytes / 2**20:,.1f} are taken "
            "(max-reply-mib)"
        )
    return reply.content


def _more_when_decoded(record: ArrayRecord) -> int:
    """Return the bytes that a record's coded arrays say they will take beyond their data.

    Raises
    ------
    BadReplyError
        One says what cannot be.
    """
    try:
        coded = [array for array in record.values() if is_coded(array)]
        return sum(max(0, declared_bytes(array) - len(array.data)) for array in coded)
    except ValueError as error:
        raise BadReplyError(f"a coded array: {error}") from error


def discard(reply: Message) -> None:
    """Let go of what a refused reply holds: Flower keeps the message until the round ends."""
    if reply.has_content():
        for name in list(reply.content):
            del reply.content[name]
