"""``fsl-sage sweep``, as a user types it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fsl_sage_flwr import run_inline
from fsl_sage_flwr.client_app import app as client_app
from fsl_sage_flwr.server_app import app as server_app

from .commands import PATIENCE, fsl_sage, run_directory, started_by
from .deployment import wait_for

pytestmark = pytest.mark.e2e

WORDS = ("--jobs", "2", "num-server-rounds=1", "batch-size=128", "results-dir=out")


def runs_of(directory: Path) -> dict[str, Path]:
    """Return the runs' directories by dataset."""
    return {path.parents[1].name: path.parent for path in directory.rglob("summary.json")}


def test_all_runs_are_checked_first_and_finished_ones_are_skipped(tmp_path: Path) -> None:
    words = ("sweep", *WORDS, "dataset=digits,/no/such/place")
    done = fsl_sage(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert "'/no/such/place' does not exist" in done.stderr
    assert not list((tmp_path / "out").rglob("summary.json"))

    words = ("sweep", *WORDS, "dataset=digits")
    done = fsl_sage(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 runs completed, 0 failed" in done.stdout
    assert "engine inline: 1 runs" in done.stdout
    config: dict[str, Any] = {"num-server-rounds": 1, "batch-size": 128}
    run_inline(server_app, client_app, 4, {**config, "results-dir": str(tmp_path / "here")})
    ours, theirs = (
        torch.load(run_directory(tmp_path / where) / "full_model.pt", weights_only=True)
        for where in ("out", "here")
    )
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    again = fsl_sage(*words, cwd=tmp_path)
    assert again.returncode == 0
    assert "1 runs, 1 of them completed before" in again.stdout
    assert "0 runs completed, 0 failed" in again.stdout


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(
    ("number", "engine", "jobs", "fewest"),
    [(signal.SIGINT, "ray", 1, 4), (signal.SIGTERM, "inline", 2, 3)],
)
def test_interrupt_ends_every_run(
    tmp_path: Path, number: signal.Signals, engine: str, jobs: int, fewest: int
) -> None:
    mark = f"fsl-sage-test-{tmp_path}-{number}"
    words = [
        "sweep",
        "--engine",
        engine,
        "--jobs",
        str(jobs),
        "num-server-rounds=500",
        "seed=1,2,3",
        "results-dir=out",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "fsl_sage_flwr", *words, "results-dir=out"],
        cwd=tmp_path, env={**os.environ, "FSL_SAGE_TEST_MARK": mark},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    encoding="utf-8")  # fmt: skip
    wait_for("the runs", lambda: len(list(tmp_path.rglob("history.csv"))) == jobs)
    assert len(started_by(mark)) >= fewest
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert started_by(mark) == []
    assert len(list(tmp_path.rglob("history.csv"))) == jobs
