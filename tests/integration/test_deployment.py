"""The same code on a real SuperLink with two SuperNodes on loopback."""

import os
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from ..tables import write_split
from .commands import BIN, ROOT, fsl_sage, history_of, run_directory, started_by, summary_of

pytestmark = pytest.mark.integration

ROUNDS = 2


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def deploy(tmp_path: Path, more: dict[int, str]) -> Path:
    """Run on two SuperNodes, with more in their configurations; return the run's directory."""
    home, port = tmp_path / "home", free_port()
    home.mkdir()
    (home / "config.toml").write_text(
        f'[superlink.loopback]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    )
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "FLWR_HOME": str(home),
        "OMP_NUM_THREADS": "1",
    }
    link = f"127.0.0.1:{port}"
    commands = [
        f"flower-superlink --insecure --host 127.0.0.1 --port {port} "
        "--disable-runtime-dependency-installation"
    ]
    commands += [
        f"flower-supernode --insecure --superlink {link} --host 127.0.0.1 --port {free_port()} "
        f'--node-config "partition-id={i} num-partitions=2 {more.get(i, "")}"'
        for i in range(2)
    ]
    try:
        for command in commands:
            log = (tmp_path / f"{len(list(tmp_path.iterdir()))}.log").open("w")
            subprocess.Popen(
                f"exec {command}", shell=True, cwd=tmp_path, env=environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
            time.sleep(5)
        subprocess.run(
            [
                "flwr", "run", str(ROOT), "loopback", "--stream", "--run-config",
                f"num-server-rounds={ROUNDS} results-dir='{tmp_path / 'deployed'}'",
            ],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400,
            check=True,
        )  # fmt: skip
    finally:
        for process in started_by(str(home)):
            process.kill()
    return run_directory(tmp_path / "deployed")


def test_deployment_gives_the_history_of_the_simulation(tmp_path: Path) -> None:
    deployed = deploy(tmp_path, {})
    assert summary_of(deployed)["completed"] is True
    done = fsl_sage(
        "run", "--clients", "2", f"num-server-rounds={ROUNDS}",
        f"results-dir={tmp_path / 'simulated'}", cwd=tmp_path,
        environment={"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert history_of(deployed).equals(history_of(run_directory(tmp_path / "simulated")))


def test_a_supernode_trains_on_data_of_its_own(tmp_path: Path) -> None:
    """Two of its directories that the server has no access to; the second does not fit."""
    images = [np.rint(image * (255 / 16)).astype(np.uint8) for image in load_digits().images[:60]]
    labels = load_digits().target[:60].tolist()
    own = write_split(tmp_path / "my own data", "train", images, labels, classes=10)
    other = write_split(tmp_path / "other", "train", images, labels, classes=11)
    deployed = deploy(tmp_path, {0: f"data-path='{own}'", 1: f"data-path='{other}'"})
    assert summary_of(deployed)["completed"] is True
    history = history_of(deployed)
    assert history["clients"].tolist() == [1, 1]
    assert history["failures"].tolist() == [1, 1]
