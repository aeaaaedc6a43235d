"""A tracker from the run configuration to its files."""

import sys
from pathlib import Path

import pytest

from fsl_sage_flwr.cli import main
from fsl_sage_flwr.runs.trackers import TrackerError

from ..e2e.commands import history_of, run_directory, summary_of
from .test_server_app import on_few_digits, run

__all__ = ["on_few_digits"]  # a fixture

TRACKED = {"algorithm": "cse_fsl", "keep-optimizer-state": False}


@pytest.fixture(scope="module")
def untracked(tmp_path_factory: pytest.TempPathFactory, on_few_digits: None) -> Path:
    """Return the directory of a run without a tracker; leave it as it is."""
    return run(tmp_path_factory.mktemp("untracked"), **TRACKED)


def curve(directory: Path, column: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(column)]


@pytest.mark.slow
def test_a_resumed_run_goes_on_where_the_first_ended(tmp_path: Path, untracked: Path) -> None:
    assert not (untracked / "tensorboard").exists()
    resume = {"resume": str(untracked / "checkpoints" / "latest.pt"), "num-server-rounds": 3}
    on = run(tmp_path / "on", **TRACKED, **resume, tracker="tensorboard")
    history = history_of(on)
    assert [step for step, _ in curve(on, "test_accuracy")] == [1, 2, 3]
    for column in ("test_accuracy", "comm_bytes", "clients"):
        assert [value for _, value in curve(on, column)] == pytest.approx(list(history[column]))


@pytest.mark.slow
def test_a_tracker_that_breaks_leaves_the_history_as_it_is(
    tmp_path: Path,
    untracked: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from torch.utils.tensorboard import SummaryWriter

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(SummaryWriter, "add_scalar", full)
    broken = run(tmp_path / "broken", **TRACKED, tracker="tensorboard")
    assert summary_of(broken)["completed"] is True
    assert history_of(broken).equals(history_of(untracked))
    assert caplog.text.count("tracker tensorboard failed and is disabled") == 1


@pytest.mark.slow
def test_a_missing_package_ends_the_run_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    line = "tracker = 'wandb': wandb is not installed where the server runs; pip install "
    with pytest.raises(TrackerError):
        run(tmp_path / "server", tracker="wandb")
    assert line in str(summary_of(run_directory(tmp_path / "server"))["status"])
    assert main(["run", "tracker=wandb", f"results-dir={tmp_path / 'cli'}"]) == 2
    assert capsys.readouterr().err.startswith(f"fsl-sage: {line}'fsl-sage-flwr[wandb]'")
    assert not (tmp_path / "cli").exists()
