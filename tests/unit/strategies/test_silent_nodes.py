"""A node that does not identify its client, as one whose process hangs."""

import logging
import time

import pytest
from flwr.app import ArrayRecord

from fsl_sage_flwr.rounds.clients import client_registry as registry

from ...runs import cse_fsl
from ...tasks import CLIENTS
from .slow_grid import SLOW, SlowGrid

FOR_EVER = 3600.0


@pytest.mark.slow
@pytest.mark.usefixtures("still_time")
@pytest.mark.parametrize("expires", [False, True], ids=["asked once", "asked again"])
def test_it_is_waited_for_once_and_takes_part_when_it_has_answered(
    expires: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the second round on to wait is to wait for an hour: that it ends is what is tested."""
    caplog.set_level(logging.INFO, "flwr.fsl_sage")
    nodes, strategy = SlowGrid(says_who=False), cse_fsl(absence_timeout=0.05)
    strategy.registry.registration_timeout, strategy.registry.answer_timeout = 0.0, 0.05
    monkeypatch.setattr(registry, "DESCRIBE_TIMEOUT", 0.1 if expires else FOR_EVER)
    took_part = []

    def end_of_round(server_round: int, arrays: ArrayRecord) -> None:
        took_part.append(strategy.last_round.clients)
        if server_round == 1:
            strategy.registry.answer_timeout = FOR_EVER
            monkeypatch.setattr(registry, "DESCRIBE_TIMEOUT", FOR_EVER)
            time.sleep(0.1 if expires else 0)
        nodes.slow = server_round < 2

    strategy.start(nodes, strategy.initial_arrays(), num_rounds=4, evaluate_fn=end_of_round)
    assert took_part[1:] == [CLIENTS - 1, CLIENTS - 1, CLIENTS, CLIENTS]
    of_slow = [kind for kind, client in nodes.types if client == SLOW]
    assert of_slow == ["query.describe"] * (2 if expires else 1) + ["train.cse_fsl"] * 2
    node = list(nodes.contexts)[SLOW]
    said = f"node {node} does not identify its client: no answer for 0.05 s; if it stays so"
    assert caplog.text.count(said) == 1
    assert strategy.registry.unidentified == {}
