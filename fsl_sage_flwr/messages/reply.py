"""Open a reply of any sender."""

from typing import TypeVar

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from .arrays import declared_bytes, is_coded
from .fields import ReplySchema
from .payload import Reply
from .reason import in_short, reason_of
from .records import BadReplyError
from .simulation import in_simulation

ReplyT = TypeVar("ReplyT", bound=Reply)

# The code of Flower's simulation for an error that no ClientApp raised.
UNKNOWN, OF_RAY = 0, "ray.exceptions."
EMPTY: tuple[object, ...] = ("", b"", [])


class DeadActorError(RuntimeError):
    """Report that a process of the simulation has died, to which Flower keeps sending messages."""


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
        As received. A refused one is emptied, because Flower keeps it until the round ends.
    kind : type
        The required payload.
    expected : ReplySchema
        The requirements on its fields.
    max_bytes : int
        Largest size of the content, before and after decoding.

    Returns
    -------
    Reply
        Of that kind; the weights that Flower averages stay in the message.

    Raises
    ------
    BadReplyError
        The reply cannot be used, for the reason in the text.
    DeadActorError
        The error says that a Ray actor has died.
    """
    try:
        return kind.open(content_of(reply, max_bytes), expected)
    except BadReplyError as error:
        discard(reply)
        # The sender chooses the names in it, of any length.
        raise BadReplyError(in_short(str(error))) from error


def content_of(reply: Message, max_bytes: int) -> RecordDict:
    """Return a reply's content.

    Raises
    ------
    BadReplyError
        The reply is an error, has no content, or more than ``max_bytes`` of it.
    DeadActorError
        The error says that a Ray actor has died. The simulation would send it the next
        messages too, and each of them fails.
    """
    if reply.has_error():
        reason = str(reply.error.reason)
        # In a deployment any node could claim that an actor has died.
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
    # Not by array_records: such a view would keep the arrays of a refused reply alive.
    records = [record for record in reply.content.values() if isinstance(record, ArrayRecord)]
    size += sum(_more_when_decoded(record) for record in records)
    if size > max_bytes:
        raise BadReplyError(
            f"a reply of {size / 2**20:,.1f} MiB; at most {max_bytes / 2**20:,.1f} are taken "
            "(max-reply-mib)"
        )
    return reply.content


def _more_when_decoded(record: ArrayRecord) -> int:
    """Return the bytes that a record's coded arrays declare beyond their data.

    Raises
    ------
    BadReplyError
        A declaration is impossible.
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
