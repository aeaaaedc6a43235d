"""Messages, and the nodes that they go to."""

from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from flwr.app import Message, RecordDict

from fsl_sage_flwr.messages import VirtualClient, message_outside_a_run
from fsl_sage_flwr.rounds.grid.split_grid import SplitGrid

from ...runs import cse_fsl
from .running import set_the_ids_of_a_run


def test_a_message_can_be_made_with_its_metadata() -> None:
    """Outside of a run Flower has no ids to make one with."""
    made = message_outside_a_run(RecordDict(), 3, "train", 60.0, run_id=5)
    about = made.metadata
    assert (about.run_id, about.dst_node_id, about.message_type, about.ttl) == (5, 3, "train", 60.0)
    assert about.message_id
    assert Message(RecordDict(), reply_to=made).metadata.reply_to_message_id == about.message_id


def test_the_group_of_a_message_reaches_the_node_as_it_was() -> None:
    from flwr.common.serde import message_from_proto, message_to_proto

    set_the_ids_of_a_run()
    group = VirtualClient(3, 10).group_id
    sent = Message(RecordDict(), 1, "train", ttl=60.0, group_id=group)
    arrived = message_from_proto(message_to_proto(sent))
    assert arrived.metadata.group_id == group
    assert Message(RecordDict(), reply_to=arrived).metadata.group_id == group


@pytest.mark.slow
def test_a_refused_message_has_no_id_and_keeps_its_own() -> None:
    """``SplitGrid`` pushes again one by one what was refused together."""
    from flwr.superlink.grid import HttpGrid

    class TooLarge(HttpGrid):
        def _try_push_messages(self, run_id: int, messages: Any) -> list[str]:
            answer = httpx.Response(413, request=httpx.Request("POST", "http://127.0.0.1"))
            raise httpx.HTTPStatusError("too large", request=answer.request, response=answer)

    from flwr.supercore.run import Run

    grid = TooLarge(token="token")
    grid.set_run(Run.create_empty(run_id=7))
    set_the_ids_of_a_run()
    message = Message(RecordDict(), 1, "train")
    assert list(grid.push_messages([message])) == []
    assert message.metadata.message_id


def test_a_node_has_a_key_and_the_time_at_which_it_was_let_in() -> None:
    from flwr.proto.node_pb2 import NodeInfo

    node = NodeInfo(node_id=7, public_key=b"key", last_activated_at="2026-01-31T00:00:00")
    grid: Any = SimpleNamespace(get_nodes=lambda: [node], run=None)
    lives = SplitGrid(grid, cse_fsl().ledger, lambda request, reply: None).lives_of_nodes()
    assert lives == {7: (b"key", "2026-01-31T00:00:00")}
