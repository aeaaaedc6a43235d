"""Replies to messages within a round, before its last phase."""

from .checks.norm_outliers import NormOutlierFilter
from .instruction import Instructions, Replies, ReplyT
from .messenger import weights_sent
from .ordered_replies import OrderedReplies
from .round_parts import RoundParts


def replies_to(instructions: Instructions[ReplyT], parts: RoundParts) -> Replies[ReplyT]:
    """Send instructions and iterate over the valid replies, ascending by client.

    Parameters
    ----------
    instructions : Mapping
        By client.
    parts : RoundParts
        The round's; its settings tell whether replies are compared before any is handed over.
    """
    messenger, settings, excluded = parts.messenger, parts.settings, parts.exclusions.reasons
    order, valid = OrderedReplies[ReplyT](instructions), set[int]()
    outliers = NormOutlierFilter(settings.max_update_ratio)
    stream = messenger.stream(
        instructions, lambda: messenger.is_quorum(len(valid), len(instructions))
    )
    for request, reply in stream:
        client = messenger.client_of[request.metadata.dst_node_id]
        answer = messenger.read_reply(client, instructions[client], reply)
        if answer is not None:
            valid.add(client)
            outliers.record(client, answer, weights_sent(instructions[client], parts.client_half))
            order.add(client, answer)
        if not settings.max_update_ratio:
            yield from order.take(excluded)
    messenger.exclude_missing(order.absent, len(valid), len(instructions))
    messenger.exclude_outliers(outliers)
    yield from order.take(excluded)
