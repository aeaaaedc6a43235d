"""A node that does not say which client it is, as one whose process hangs."""

import logging
import time
from collections.abc import Iterable

import pytest
from flwr.app import ArrayRecord, Message

from fsl_sage_flwr.strategies import roster

from ...memory_grid import MemoryGrid
from ...runs import cse_fsl
from ...tasks import CLIENTS, small_app

HANGS = CLIENTS - 1
FOR_EVER = 3600.0


class SilentGrid(MemoryGrid):
    """Nodes of which one answers nothing until it is told to."""

    silent = True

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        node = list(self.contexts)[HANGS]
        return super().pull_messages(
            [
                key
                for key in message_ids
                if key in self._replies
                and not (self.silent and self._replies[key].metadata.src_node_id == node)
            ]
        )


@pytest.mark.parametrize("expires", [False, True], ids=["asked once", "asked again"])
def test_it_is_waited_for_once_and_takes_part_when_it_has_answered(
    expires: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the second round on to wait is to wait for an hour: that it ends is what is tested."""
    caplog.set_level(logging.INFO, "flwr.fsl_sage")
    nodes, strategy = SilentGrid(small_app(), CLIENTS), cse_fsl()
    strategy.roster.registration_timeout, strategy.roster.answer_timeout = 0.0, 0.05
    monkeypatch.setattr(roster, "DESCRIBE_TIMEOUT", 0.1 if expires else FOR_EVER)
    took_part = []

    def end_of_round(server_round: int, arrays: ArrayRecord) -> None:
        took_part.append(strategy.last_round.clients)
        if server_round == 1:
            strategy.roster.answer_timeout = FOR_EVER
            monkeypatch.setattr(roster, "DESCRIBE_TIMEOUT", FOR_EVER)
            time.sleep(0.1 if expires else 0)
        nodes.silent = server_round < 2

    strategy.start(nodes, strategy.initial_arrays(), num_rounds=4, evaluate_fn=end_of_round)
    assert took_part[1:] == [CLIENTS - 1, CLIENTS - 1, CLIENTS, CLIENTS]
    of_hanging = [kind for kind, client in nodes.types if client == HANGS]
    assert of_hanging == ["query.describe"] * (2 if expires else 1) + ["train.cse_fsl"] * 2
    node = list(nodes.contexts)[HANGS]
    said = f"node {node} does not say which client it is: no answer for 0.05 s"
    assert caplog.text.count(said) == 1
    assert strategy.roster.strangers == {}
