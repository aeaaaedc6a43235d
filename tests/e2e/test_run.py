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
from .forked_programs import stand_ins

pytestmark = pytest.mark.e2e


def test_default_run_reaches_95_percent_and_leaves_its_results(tmp_path: Path) -> None:
    done = fsl_sage("run", cwd=tmp_path, forked=False)
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


def test_failed_run_says_why_in_a_line_and_exits_with_1(tmp_path: Path) -> None:
    """What cannot be known before: there is such a submodule, but it cannot be the cut.

    test_ray_cluster.py has one on Ray.
    """
    done = fsl_sage("run", "cut=features.0", cwd=tmp_path)
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
def test_interrupt_ends_everything(tmp_path: Path) -> None:
    """test_ending.py has every signal, test_ray_cluster.py and test_sweep.py a run on Ray."""
    mark = f"fsl-sage-test-{tmp_path}"
    words = ("run", "--engine", "inline", "num-server-rounds=500")
    process = subprocess.Popen(
        [sys.executable, "-m", "fsl_sage_flwr", *words],
        cwd=tmp_path, env={**os.environ, "FSL_SAGE_TEST_MARK": mark},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    encoding="utf-8")  # fmt: skip
    wait_for("a round", lambda: _rounds(tmp_path))
    assert started_by(mark)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert started_by(mark) == []
    assert summary_of(run_directory(tmp_path / "results"))["status"] == "interrupted"


def _rounds(directory: Path) -> int:
    histories = list(directory.rglob("history.csv"))
    return len(histories[0].read_text(encoding="utf-8").splitlines()) - 1 if histories else 0


def test_plain_flower_runs_the_checkout_with_the_bits_of_one_process(tmp_path: Path) -> None:
    """``flwr run`` with Flower's own local SuperLink.

    On Ray with two actors: clients change process between two messages. test_virtual_clients.py
    has a message a batch, test_deployment.py other protocols.
    """
    settings: dict[str, Any] = {
        "algorithm": "fsl_sage",
        "compression": "strong",
        "num-server-rounds": 2,
        "batch-size": 128,
        "fraction-evaluate": 1.0,
    }
    words = [f"{key}={value!r}" for key, value in settings.items()]
    home, programs = tmp_path / "home", stand_ins()
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(programs), str(BIN), os.environ["PATH"]]),
        "FLWR_HOME": str(home),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": "39517",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    }
    try:
        done = subprocess.run(
            [
                str(programs / "flwr"), "run", str(ROOT), "--stream", "--federation-config",
                "num-supernodes=3 client-resources-num-cpus=1 init-args-num-cpus=2",
                "--run-config", " ".join([*words, f"results-dir='{tmp_path / 'ray'}'"]),
            ],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE,
            check=True,
        encoding="utf-8")  # fmt: skip
        assert "round 2/2: accuracy" in done.stdout + done.stderr
    finally:
        kill_started_by(str(home))
    ours = run_directory(tmp_path / "ray")
    assert summary_of(ours)["completed"] is True
    run_inline(server_app, client_app, 3, {**settings, "results-dir": str(tmp_path / "here")})
    theirs = run_directory(tmp_path / "here")
    assert_frame_equal(history_of(ours), history_of(theirs), check_exact=True)
    for half in ("client_half.pt", "server_half.pt"):
        on_ray, here = (torch.load(run / half, weights_only=True) for run in (ours, theirs))
        assert on_ray.keys() == here.keys()
        assert [name for name in on_ray if not torch.equal(on_ray[name], here[name])] == []
