"""A run of a user's model leaves the files of the package's runs."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Message

from fsl_sage_flwr import Recorder
from fsl_sage_flwr.analysis import load_results
from fsl_sage_flwr.analysis.comparison import compare
from fsl_sage_flwr.analysis.load_results import read_runs
from fsl_sage_flwr.analysis.report import report_page
from fsl_sage_flwr.analysis.result_table import format_table
from fsl_sage_flwr.runs.checkpoint import CheckpointError, read_checkpoint
from fsl_sage_flwr.runs.directory import RunDirectory
from fsl_sage_flwr.runs.lock import DirectoryInUseError, training_lock
from fsl_sage_flwr.runs.trackers import TrackerError, opening
from fsl_sage_flwr.simulations.sweeps import finished_runs
from fsl_sage_flwr.splitting import Evaluation
from fsl_sage_flwr.strategies import CseFsl, TrainingFailedError

from ...memory_grid import MemoryGrid, error_instead
from ...runs import assert_same
from ...tasks import CLIENTS, client_of, small_app, small_batches, small_task


def recorder(directory: Path, **changes: Any) -> tuple[Recorder, CseFsl]:
    strategy = CseFsl(small_task(), keep_optimizer_state=False)
    batches = list(small_batches(client_of(0), 9))
    return Recorder(strategy, directory, lambda: batches, **changes), strategy


def nodes() -> MemoryGrid:
    return MemoryGrid(small_app(), CLIENTS)


@pytest.mark.slow
def test_two_lines_leave_a_run_that_tables_and_the_report_read(tmp_path: Path) -> None:
    own, strategy = recorder(tmp_path / "results" / "one")
    result = own.train(nodes(), num_rounds=3)
    run = tmp_path / "results" / "one"
    found = load_results(tmp_path / "results")
    assert list(found["round"]) == [1, 2, 3]
    assert list(found["comm_bytes"])[-1] == strategy.ledger.total
    assert set(found["algorithm"]) == {"cse_fsl"}
    assert "CSE-FSL" in format_table(compare(found), "markdown")
    now = datetime(2026, 11, 26, tzinfo=UTC)
    page = report_page(tmp_path, read_runs(tmp_path), compare(found), 100.0, now)
    assert "CSE-FSL" in page
    assert result.arrays is not None
    client, server = strategy.model_state(result.arrays)
    assert_same(torch.load(run / "full_model.pt", weights_only=True), {**client, **server})
    assert json.loads(RunDirectory.provenance_of(run).read_text(encoding="utf-8"))["torch"]
    assert json.loads(RunDirectory.summary_of(run).read_text(encoding="utf-8"))["completed"]


@pytest.mark.slow
def test_a_run_goes_on_to_what_it_would_have_been(tmp_path: Path) -> None:
    whole, _ = recorder(tmp_path / "whole")
    expected = whole.train(nodes(), 4).arrays
    part, _ = recorder(tmp_path / "part")
    part.train(nodes(), 2)
    rest, _ = recorder(tmp_path / "part")
    checkpoint = tmp_path / "part" / "checkpoints" / "latest.pt"
    result = rest.train(nodes(), 4, resume=checkpoint)
    assert expected is not None
    assert_same(result.arrays, expected)
    assert list(load_results(tmp_path / "part")["round"]) == [1, 2, 3, 4]
    provenance = json.loads(
        RunDirectory.provenance_of(tmp_path / "part").read_text(encoding="utf-8")
    )
    assert "resumes" in provenance

    other, _ = recorder(tmp_path / "part", settings={"model": "another"})
    with pytest.raises(CheckpointError, match="model was 'own', now 'another'"):
        other.train(nodes(), 9, resume=checkpoint)
    again, _ = recorder(tmp_path / "part")
    with pytest.raises(CheckpointError, match="has finished 4 rounds already; ask for more"):
        again.train(nodes(), 4, resume=checkpoint)
    with pytest.raises(FileExistsError, match="has a completed run already"):
        again.train(nodes(), 4)
    of_another, _ = recorder(tmp_path / "another")
    of_another.train(nodes(), 1)
    with pytest.raises(FileExistsError, match="has a completed run already"):
        again.train(nodes(), 4, resume=tmp_path / "another")
    again.train(nodes(), 5, resume=tmp_path / "part")
    assert list(load_results(tmp_path / "part")["round"]) == [1, 2, 3, 4, 5]


@pytest.mark.slow
def test_what_an_interrupted_run_left_is_not_lost_silently(tmp_path: Path) -> None:
    own, _ = recorder(tmp_path)
    own.train(nodes(), 2)
    RunDirectory(tmp_path).write_summary({"completed": False, "status": "running"})
    again, _ = recorder(tmp_path)
    with pytest.raises(FileExistsError, match=r"an unfinished run .* resume=.*latest.pt"):
        again.train(nodes(), 2)
    # All rounds are done, and it is not completed: killed before its end.
    latest = tmp_path / "checkpoints" / "latest.pt"
    again.train(nodes(), 2, resume=latest)
    assert RunDirectory.is_completed_at(tmp_path)
    assert list(load_results(tmp_path)["round"]) == [1, 2]
    new, _ = recorder(tmp_path / "new")
    new.train(nodes(), 1)
    RunDirectory(tmp_path / "new").write_summary({"completed": False, "status": "running"})
    other, _ = recorder(tmp_path / "new")
    other.train(nodes(), 1, replace_unfinished=True)


def failing_from(round_: int) -> MemoryGrid:
    """Return nodes that answer no request to train after this number of rounds."""
    trained = 0

    def tamper(client: int, reply: Message) -> Message:
        nonlocal trained
        if not reply.metadata.message_type.startswith("train"):
            return reply
        trained += 1
        return error_instead(reply) if trained > round_ * CLIENTS else reply

    return MemoryGrid(small_app(), CLIENTS, tamper=tamper)


@pytest.mark.slow
def test_rounds_that_are_given_up_leave_the_checkpoints_of_good_ones(tmp_path: Path) -> None:
    """Should it be the model that no client can train, the one before it is still there."""
    checkpoints = tmp_path / "every" / "checkpoints"
    own, _ = recorder(tmp_path / "every")
    with pytest.raises(TrainingFailedError):
        own.train(failing_from(2), 9)
    rounds = {
        name: len(read_checkpoint(checkpoints / f"{name}.pt")["history"])
        for name in ("latest", "previous")
    }
    assert rounds == {"latest": 2, "previous": 1}
    assert list(load_results(tmp_path / "every")["round"]) == [1, 2, 3, 4]
    rest, _ = recorder(tmp_path / "every")
    rest.train(nodes(), 3, resume=checkpoints / "latest.pt")
    assert list(load_results(tmp_path / "every")["round"]) == [1, 2, 3]


@pytest.mark.slow
def test_what_good_rounds_left_is_saved_when_one_is_given_up(tmp_path: Path) -> None:
    """Others may fail after it, and end the run before a checkpoint is due."""
    own, strategy = recorder(tmp_path, checkpoint_interval=10)
    with pytest.raises(TrainingFailedError):
        own.train(failing_from(2), 9)
    saved = read_checkpoint(tmp_path / "checkpoints" / "latest.pt")
    assert len(saved["history"]) == 3
    trained = strategy.task.model.server.state_dict()
    assert_same(dict(saved["strategy"]["server"]["half"]), dict(trained))


@pytest.mark.slow
def test_a_failed_run_says_so_and_a_threshold_completes_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own, strategy = recorder(tmp_path / "failed")
    strategy.registry.registration_timeout = strategy.absence_timeout = 0.0
    with pytest.raises(TrainingFailedError):
        own.train(MemoryGrid(small_app(), 0), 4)
    summary = json.loads(RunDirectory.summary_of(tmp_path / "failed").read_text(encoding="utf-8"))
    assert not summary["completed"]
    assert f"the run failed: {summary['status']}" in caplog.text
    few, _ = recorder(tmp_path / "few", max_communication_mib=1e-6)
    assert few.train(nodes(), 5).arrays is not None
    assert list(load_results(tmp_path / "few")["round"]) == [1]


@pytest.mark.slow
def test_a_first_round_without_a_loss_leaves_the_best_to_later_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([math.nan, 2.0, 3.0, math.nan])
    own, strategy = recorder(tmp_path)
    monkeypatch.setattr(strategy, "evaluate", lambda *_: Evaluation(next(losses), 1, {}))
    own.train(nodes(), 3)
    best = tmp_path / "checkpoints" / "best.pt"
    assert len(torch.load(best, weights_only=True)["history"]) == 2
    summary = json.loads(RunDirectory.summary_of(tmp_path).read_text(encoding="utf-8"))
    assert (summary["best_round"], summary["best_loss"]) == (2, 2.0)


class Shown:
    """A tracker's run: which it is, and the rounds that it was given."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.steps: list[int] = []

    def log(self, scalars: dict[str, float], step: int) -> None:
        self.steps.append(step)

    def close(self, *, completed: bool) -> None: ...


@pytest.mark.slow
def test_a_resumed_run_continues_its_run_in_the_tracker(
    tmp_path: Path, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    began: list[Shown] = []
    known = {"run-0", "run-2"}

    def backend(directory: Path, config: object, earlier: str) -> Shown:
        if earlier and earlier not in known:
            raise TrackerError(f"no run {earlier}")
        began.append(Shown(earlier or f"run-{len(began)}"))
        return began[-1]

    opening.TRACKERS.register("shown", opening.TrackerEntry(backend))
    request.addfinalizer(lambda: opening.TRACKERS.remove("shown"))
    for rounds, where, resume in (
        (2, "one", None), (3, "one", "one"), (4, "two", "one"), (5, "two", "two"),
    ):  # fmt: skip
        own, _ = recorder(tmp_path / where, tracker="shown")
        own.train(nodes(), rounds, resume=resume and tmp_path / resume)
    known.clear()
    own.train(nodes(), 6, resume=tmp_path / "two")
    assert [shown.run for shown in began] == ["run-0", "run-0", "run-2", "run-2", "run-4"]
    assert [shown.steps for shown in began] == [[1, 2], [3], [1, 2, 3, 4], [5], [1, 2, 3, 4, 5, 6]]
    assert "the tracker's run run-2 is not continued, a new one begins: no run run-2" in caplog.text


def test_an_unknown_tracker_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match="tracker = 'no_such_tracker': valid are"):
        recorder(tmp_path, tracker="no_such_tracker")


@pytest.mark.slow
def test_a_directory_in_use_is_refused_and_shows_who_holds_it(tmp_path: Path) -> None:
    first, _ = recorder(tmp_path)
    with training_lock(tmp_path), pytest.raises(DirectoryInUseError, match=r"process \d+ on"):
        first.train(nodes(), 1)
    first.train(nodes(), 1)
    assert list(load_results(tmp_path)["round"]) == [1]


@pytest.mark.sample
@pytest.mark.parametrize("rounds", [1, 2])
@pytest.mark.parametrize("threshold", [0.0, 1e-6], ids=["", "with a threshold"])
def test_a_run_that_nobody_trained_is_not_completed(
    tmp_path: Path, rounds: int, threshold: float
) -> None:
    def fail(client: int, reply: Message) -> Message:
        trains = reply.metadata.message_type.startswith("train")
        return error_instead(reply, f"client {client} broke") if trains else reply

    own, _ = recorder(tmp_path, max_communication_mib=threshold)
    with pytest.raises(TrainingFailedError, match="no round was trained: round"):
        own.train(MemoryGrid(small_app(), CLIENTS, tamper=fail), rounds)
    summary = json.loads(RunDirectory.summary_of(tmp_path).read_text(encoding="utf-8"))
    assert not summary["completed"]
    assert summary["status"].startswith("TrainingFailedError: no round was trained")
    assert not list(tmp_path.glob("*.pt"))
    RunDirectory(tmp_path).begin_simulation({"num-supernodes": CLIENTS}, resumed=True)
    assert finished_runs(tmp_path, CLIENTS) == {}


@pytest.mark.slow
def test_the_summary_tells_the_state_while_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, strategy = recorder(tmp_path)
    seen: list[tuple[object, ...]] = []
    configure = strategy.configure_train

    def look(*args: Any) -> Any:
        found = json.loads(RunDirectory.summary_of(tmp_path).read_text(encoding="utf-8"))
        seen.append((found["status"], found["rounds"], found["final_accuracy"] is not None))
        if len(seen) == 3:
            raise SystemExit(0)  # as Flower does after `flwr stop`
        return configure(*args)

    monkeypatch.setattr(strategy, "configure_train", look)
    with pytest.raises(SystemExit):
        own.train(nodes(), 5)
    assert seen == [("running", 0, False), ("running", 1, True), ("running", 2, True)]
    found = json.loads(RunDirectory.summary_of(tmp_path).read_text(encoding="utf-8"))
    assert (found["completed"], found["status"], found["rounds"]) == (False, "interrupted", 2)
