"""``fsl-sage run``, as a user types it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pandas.testing import assert_frame_equal

from fsl_sage_flwr import run_inline
from fsl_sage_flwr.analysis.provenance import provenance_of
from fsl_sage_flwr.client_app import app as client_app
from fsl_sage_flwr.models import build_model
from fsl_sage_flwr.server_app import app as server_app

from .commands import (
    BIN,
    PATIENCE,
    ROOT,
    fsl_sage,
    history_of,
    kill_started_by,
    run_directory,
    started_by,
    summary_of,
)
from .deployment import wait_for

pytestmark = pytest.mark.e2e


def test_default_run_reaches_95_percent_and_leaves_its_results(tmp_path: Path) -> None:
    done = fsl_sage("run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = run_directory(tmp_path / "results")
    assert f"results: {run}" in done.stdout
    assert done.stdout.startswith("engine inline: 4 clients of digits, no GPU")
    assert provenance_of(run)["engine"] == "inline"
    summary = summary_of(run)
    assert summary["completed"] is True
    assert summary["final_accuracy"] >= 0.95  # type: ignore[operator]
    history = history_of(run)
    assert list(history["round"]) == list(range(1, 26))
    assert history["alignment_cosine"].notna().sum() == 13
    assert done.stdout.count("/25 ") == 25

    merged = torch.load(run / "full_model.pt", weights_only=True)
    build_model("simple_conv", (1, 8, 8), 10).load_state_dict(merged, strict=True)
    for name in ("config.json", "checkpoints/latest.pt", "checkpoints/best.pt",
                 "client_half.pt", "server_half.pt"):  # fmt: skip
        assert (run / name).is_file(), name
    assert not list(run.rglob("*.part"))


def test_simulation_on_ray_has_the_bits_of_one_process(tmp_path: Path) -> None:
    """With two actors: clients change process between two messages.

    test_virtual_clients.py has a message a batch, test_deployment.py every protocol.
    """
    settings: dict[str, Any] = {
        "algorithm": "fsl_sage",
        "compression": "strong",
        "num-server-rounds": 2,
        "batch-size": 128,
        "fraction-evaluate": 1.0,
    }
    ours = run_on_ray({**settings, "results-dir": str(tmp_path / "ray")}, tmp_path)
    theirs = run_in_this_process({**settings, "results-dir": str(tmp_path / "here")})
    assert_frame_equal(history_of(ours), history_of(theirs), check_exact=True)
    for half in ("client_half.pt", "server_half.pt"):
        on_ray, here = (torch.load(run / half, weights_only=True) for run in (ours, theirs))
        assert on_ray.keys() == here.keys()
        assert [name for name in on_ray if not torch.equal(on_ray[name], here[name])] == []


def run_on_ray(settings: dict[str, Any], directory: Path) -> Path:
    words = (f"{key}={'false' if value is False else value}" for key, value in settings.items())
    done = fsl_sage("run", "--engine", "ray", "--cpus", "2", *words, cwd=directory)
    assert done.returncode == 0, done.stderr
    return run_directory(Path(settings["results-dir"]))


def run_in_this_process(settings: dict[str, Any]) -> Path:
    run_inline(server_app, client_app, 4, settings)
    return run_directory(Path(settings["results-dir"]))


@pytest.mark.parametrize("engine", ["inline", "ray"])
def test_failed_run_says_why_in_a_line_and_exits_with_1(tmp_path: Path, engine: str) -> None:
    """What cannot be known before: there is such a submodule, but it cannot be the cut."""
    done = fsl_sage("run", "--engine", engine, "cut=features.0", cwd=tmp_path)
    assert done.returncode == 1
    assert "SplitError: the raw input 'images' would cross the cut" in done.stderr
    assert "Traceback" not in done.stderr
    assert (run_directory(tmp_path / "results") / "run.log").is_file()


def test_wrong_setting_exits_with_2_before_anything_starts(tmp_path: Path) -> None:
    done = fsl_sage("run", "learning-rate=fast", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip() == "fsl-sage: learning-rate = 'fast': a number is needed"
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("interruptible")
# test_ending.py has every signal.
@pytest.mark.parametrize(
    ("number", "engine", "fewest"), [(signal.SIGHUP, "ray", 4), (signal.SIGINT, "inline", 1)]
)
def test_interrupt_ends_everything(
    tmp_path: Path, number: signal.Signals, engine: str, fewest: int
) -> None:
    mark = f"fsl-sage-test-{tmp_path}-{number}"
    words = ("run", "--engine", engine, "num-server-rounds=500")
    process = subprocess.Popen(
        [sys.executable, "-m", "fsl_sage_flwr", *words],
        cwd=tmp_path, env={**os.environ, "FSL_SAGE_TEST_MARK": mark},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    encoding="utf-8")  # fmt: skip
    wait_for("a round", lambda: _rounds(tmp_path))
    assert len(started_by(mark)) >= fewest
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert started_by(mark) == []
    assert summary_of(run_directory(tmp_path / "results"))["status"] == "interrupted"


def _rounds(directory: Path) -> int:
    histories = list(directory.rglob("history.csv"))
    return len(histories[0].read_text(encoding="utf-8").splitlines()) - 1 if histories else 0


def test_plain_flower_runs_the_checkout(tmp_path: Path) -> None:
    """``flwr run`` with Flower's own local SuperLink."""
    home = tmp_path / "home"
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "FLWR_HOME": str(home),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": "39517",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    }
    flwr = str(BIN / "flwr")
    try:
        done = subprocess.run(
            [
                flwr, "run", str(ROOT), "--stream",
                "--federation-config", "num-supernodes=3 client-resources-num-cpus=1",
                "--run-config", f"num-server-rounds=2 results-dir='{tmp_path / 'results'}'",
            ],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE,
            check=True,
        encoding="utf-8")  # fmt: skip
        assert "round 2/2: accuracy" in done.stdout + done.stderr
        summary = summary_of(run_directory(tmp_path / "results"))
        assert summary["completed"] is True
        assert summary["rounds"] == 2
    finally:
        kill_started_by(str(home))
