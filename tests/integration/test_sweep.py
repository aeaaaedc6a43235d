"""``fsl-sage sweep``, as a user types it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .commands import PATIENCE, fsl_sage, started_by
from .deployment import wait_for

pytestmark = pytest.mark.integration

WORDS = ("--jobs", "2", "num-server-rounds=1", "batch-size=128", "results-dir=out")


def runs_of(directory: Path) -> dict[str, Path]:
    """Return the runs' directories by dataset."""
    return {path.parents[1].name: path.parent for path in directory.rglob("summary.json")}


def test_all_runs_are_checked_first_and_finished_ones_are_skipped(tmp_path: Path) -> None:
    words = ("sweep", *WORDS, "dataset=digits,/no/such/place", "--gpus-per-client", "auto")
    done = fsl_sage(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert "'/no/such/place' does not exist" in done.stderr
    assert not list((tmp_path / "out").rglob("summary.json"))

    words = ("sweep", *WORDS, "dataset=digits")
    done = fsl_sage(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 runs completed, 0 failed" in done.stdout
    again = fsl_sage(*words, cwd=tmp_path)
    assert again.returncode == 0
    assert "1 runs, 1 of them completed before" in again.stdout
    assert "0 runs completed, 0 failed" in again.stdout


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_ends_every_run(tmp_path: Path, number: signal.Signals) -> None:
    mark = f"fsl-sage-test-{tmp_path}-{number}"
    words = ["sweep", "--jobs", "2", "num-server-rounds=500", "seed=1,2,3", "results-dir=out"]
    process = subprocess.Popen(
        [sys.executable, "-m", "fsl_sage_flwr", *words],
        cwd=tmp_path, env={**os.environ, "FSL_SAGE_TEST_MARK": mark},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    encoding="utf-8")  # fmt: skip
    wait_for("two runs", lambda: len(list(tmp_path.rglob("history.csv"))) == 2)
    assert len(started_by(mark)) > 6
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert started_by(mark) == []
    assert len(list(tmp_path.rglob("history.csv"))) == 2
