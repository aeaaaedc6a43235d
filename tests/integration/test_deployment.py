"""The same code on a real SuperLink with two SuperNodes on loopback."""

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from .commands import BIN, ROOT, fsl_sage, history_of, run_directory, started_by, summary_of

pytestmark = pytest.mark.integration

ROUNDS = 2


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_deployment_gives_the_history_of_the_simulation(tmp_path: Path) -> None:
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
        f'--node-config "partition-id={i} num-partitions=2"'
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
    deployed = run_directory(tmp_path / "deployed")
    assert summary_of(deployed)["completed"] is True

    done = fsl_sage(
        "run", "--clients", "2", f"num-server-rounds={ROUNDS}",
        f"results-dir={tmp_path / 'simulated'}", cwd=tmp_path,
        environment={"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert history_of(deployed).equals(history_of(run_directory(tmp_path / "simulated")))
