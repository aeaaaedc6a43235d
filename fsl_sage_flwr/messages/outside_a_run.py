"""Messages whose metadata Flower cannot complete, because there is no run."""

import time
import uuid

from flwr.app import Message, Metadata, RecordDict


def message_outside_a_run(
    content: RecordDict, node: int, kind: str, ttl: float, run_id: int = 0
) -> Message:
    """Make a message with complete metadata, as if the server of a run had sent it to a node."""
    metadata = Metadata(
        run_id=run_id,
        message_id=uuid.uuid4().hex,
        src_node_id=0,
        dst_node_id=node,
        reply_to_message_id="",
        group_id="",
        created_at=time.time(),
        ttl=ttl,
        message_type=kind,
    )
    # Flower's type hints omit this argument, which is for code that transports messages.
    made: Message = Message(content, metadata=metadata)  # type: ignore[call-overload]
    return made
