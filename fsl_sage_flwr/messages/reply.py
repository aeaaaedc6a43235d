"""Open a reply, whoever sent it."""

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from .records import BadReplyError

LONGEST_REASON = 300
EMPTY: tuple[object, ...] = ("", b"", [])


def count_bytes(record: ArrayRecord | MetricRecord | ConfigRecord) -> int:
    """Return the bytes of a record, by Flower's own count.

    Flower's refuses a ConfigRecord with an empty value, which a sender may well choose.
    """
    if not isinstance(record, ConfigRecord):
        return record.count_bytes()
    full = ConfigRecord({key: value for key, value in record.items() if value not in EMPTY})
    return full.count_bytes() + sum(len(key) for key in record if key not in full)


def content_of(reply: Message, max_bytes: int) -> RecordDict:
    """Return a reply's content.

    Raises
    ------
    BadReplyError
        The reply is an error, has no content, or more than ``max_bytes`` of it.
    """
    if reply.has_error():
        reason = " ".join(str(reply.error.reason).split())
        if len(reason) > LONGEST_REASON:
            reason = f"{reason[:LONGEST_REASON]} …"
        raise BadReplyError(f"error {reply.error.code}: {reason}")
    if not reply.has_content():
        raise BadReplyError("a reply without content")
    size = sum(count_bytes(record) for record in reply.content.values())
    if size > max_bytes:
        raise BadReplyError(
            f"a reply of {size / 2**20:,.1f} MiB; at most {max_bytes / 2**20:,.1f} are taken "
            "(max-reply-mb)"
        )
    return reply.content


def discard(reply: Message) -> None:
    """Let go of what a refused reply holds: Flower keeps the message until the round ends."""
    if reply.has_content():
        for name in list(reply.content):
            del reply.content[name]
