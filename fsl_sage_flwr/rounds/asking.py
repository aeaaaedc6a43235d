"""Replies to messages within a round, before its last phase."""

from collections.abc import Container, Mapping

from torch import Tensor

from .checks.norm_outliers import NormOutlierFilter
from .instruction import Instructions, Replies, ReplyT
from .messenger import Messenger, weights_sent
from .ordered_replies import OrderedReplies
from .round_settings import RoundSettings


def replies_to(
    instructions: Instructions[ReplyT],
    messenger: Messenger,
    client_half: Mapping[str, Tensor],
    excluded: Container[int],
    settings: RoundSettings,
) -> Replies[ReplyT]:
    """Send instructions and iterate over the valid replies, ascending by client.

    Parameters
    ----------
    instructions : Mapping
        By client.
    messenger : Messenger
        Packs messages and opens replies.
    client_half : Mapping
        The average at the begin of the round.
    excluded : container of int
        Clients that are excluded from the round; it grows.
    settings : RoundSettings
        Whether replies are compared before any is handed over.
    """
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
            outliers.record(client, answer, weights_sent(instructions[client], client_half))
            order.add(client, answer)
        if not settings.max_update_ratio:
            yield from order.take(excluded)
    messenger.exclude_missing(order.absent, len(valid), len(instructions))
    messenger.exclude_outliers(outliers)
    yield from order.take(excluded)
