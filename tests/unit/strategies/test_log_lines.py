"""What the log says, and what it does not."""

import logging
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ArrayRecord

from fsl_sage_flwr import Recorder
from fsl_sage_flwr.strategies import CseFsl

from ...memory_grid import MemoryGrid
from ...tasks import CLIENTS, client_of, small_app, small_batches, small_task


@pytest.mark.slow
def test_flowers_lines_that_would_mislead_are_not_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "flwr")
    batches = list(small_batches(client_of(0), 9))
    recorder = Recorder(CseFsl(small_task()), tmp_path, lambda: batches)
    recorder.train(MemoryGrid(small_app(), CLIENTS), 1)
    said = caplog.text
    assert "fraction_evaluate is set to 0.0" not in said
    assert "Initial global evaluation results: None" not in said
    assert "round 1/1" in said
    logging.getLogger("flwr").info("Initial global evaluation results: %s", None)
    assert "Initial global evaluation results: None" in caplog.text  # others' runs are not touched


@pytest.mark.slow
def test_who_is_gone_and_who_is_back_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "flwr")
    nodes, kept = MemoryGrid(small_app(), CLIENTS), dict[int, Any]()
    one = next(node for node, client in nodes.partition.items() if client == 1)

    def leave_and_come_back(server_round: int, arrays: ArrayRecord) -> None:
        if server_round == 1:
            kept[one] = nodes.contexts.pop(one)
        if server_round == 3:
            nodes.contexts.update(kept)

    strategy = CseFsl(small_task())
    strategy.start(nodes, strategy.initial_arrays(), num_rounds=5, evaluate_fn=leave_and_come_back)
    lines = [record.getMessage() for record in caplog.records]
    there = f"of {CLIENTS} clients are connected"
    assert [line for line in lines if "client 1 is" in line] == [
        f"client 1 is gone: {CLIENTS - 1} {there}", f"client 1 is back: {CLIENTS} {there}",
    ]  # fmt: skip
