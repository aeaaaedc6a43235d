"""Open a reply, whoever sent it."""

from flwr.app import ConfigRecord, Message, RecordDict

from .records import BadReplyError

LONGEST_REASON = 300


def count_bytes(content: RecordDict) -> dict[str, int]:
    """Return the bytes of each record, by Flower's own count.

    Flower's refuses a ConfigRecord with an empty value, which a sender may well choose.
    """
    sizes = {}
    for name, record in content.items():
        try:
            sizes[name] = record.count_bytes()
        except (ValueError, IndexError):
            full = {key: value for key, value in record.items() if value not in ("", b"", [])}
            empty = sum(len(key) for key in record if key not in full)
            sizes[name] = ConfigRecord(full).count_bytes() + empty  # type: ignore[arg-type]
    return sizes


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
    size = sum(count_bytes(reply.content).values())
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
