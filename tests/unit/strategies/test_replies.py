"""What is held of the replies of a round that is over."""

import gc
import weakref

import pytest
from flwr.app import Message

from ...runs import grid, train
from .test_contract import STRATEGIES


@pytest.mark.parametrize("name", ["fed_avg", "fsl_sage"])
def test_no_reply_of_a_round_is_held_in_the_next(name: str) -> None:
    replies = list[weakref.ref[Message]]()
    held = list[int]()

    def tamper(partition: int, reply: Message) -> Message:
        if reply.metadata.message_type.startswith("train"):
            gc.collect()
            held.append(sum(ref() is not None for ref in replies))
            replies.append(weakref.ref(reply))
        return reply

    federation = grid(tamper=tamper)
    clients = len(federation.partition)
    train(STRATEGIES[name](), federation, 2)
    assert held == [*range(clients), *range(clients)]
