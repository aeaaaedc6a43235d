"""What clients have kept of a run is removed when the run ends."""

import os
from pathlib import Path

import pytest
from flwr.app import Message

from fsl_sage_flwr import Recorder
from fsl_sage_flwr.compression import PRESETS
from fsl_sage_flwr.messages import FORGET
from fsl_sage_flwr.rounds.clients import farewell
from fsl_sage_flwr.strategies import TrainingFailedError

from ...memory_grid import MemoryGrid, error_instead
from ...runs import CLIENTS, cse_fsl, grid
from ...tasks import client_of, small_app, small_batches


def recorder(directory: Path, **changes: int) -> Recorder:
    batches = list(small_batches(client_of(0), 9))
    strategy = cse_fsl(compression=PRESETS["strong"], **changes)
    return Recorder(strategy, directory, lambda: batches)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FSL_SAGE_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept" / f"fsl-sage-flwr-{os.getuid()}"


@pytest.mark.slow
def test_nodes_of_a_run_that_completed_keep_nothing(tmp_path: Path, kept: Path) -> None:
    nodes, own = grid(), recorder(tmp_path / "run")
    own.train(nodes, 1)
    assert nodes.types[-CLIENTS:] == [(FORGET, client) for client in range(CLIENTS)]
    assert list(kept.iterdir()) == []
    total = own._strategy.ledger.total
    assert total == own._history.rows[-1]["comm_bytes"]  # the message is not among what was counted


@pytest.mark.slow
def test_what_a_strategy_alone_trains_is_kept_for_its_next_start(kept: Path) -> None:
    strategy, nodes = cse_fsl(compression=PRESETS["strong"]), grid()
    strategy.start(nodes, strategy.initial_arrays(), num_rounds=1)
    assert len(list(kept.glob("run-*/client-*"))) == CLIENTS


@pytest.mark.slow
def test_a_run_that_gives_up_leaves_nothing_either(tmp_path: Path, kept: Path) -> None:
    def fails(partition: int, reply: Message) -> Message:
        trains = reply.metadata.message_type.startswith("train")
        return error_instead(reply) if trains and reply.has_content() else reply

    with pytest.raises(TrainingFailedError):
        recorder(tmp_path / "run", max_failed_rounds=1).train(grid(tamper=fails), 3)
    assert list(kept.iterdir()) == []


@pytest.mark.slow
def test_a_node_that_does_not_answer_holds_the_end_up_for_a_bounded_time(
    tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farewell, "PATIENCE", 0.1)

    def silent(partition: int, reply: Message) -> Message | None:
        return None if reply.metadata.message_type == FORGET and partition == 0 else reply

    result = recorder(tmp_path / "run").train(MemoryGrid(small_app(), CLIENTS, tamper=silent), 1)
    assert result.arrays is not None


@pytest.mark.slow
def test_of_a_simulation_one_node_is_asked(tmp_path: Path, kept: Path) -> None:
    nodes = grid(simulated=True)
    recorder(tmp_path / "run").train(nodes, 1)
    assert [kind for kind, _ in nodes.types].count(FORGET) == 1
