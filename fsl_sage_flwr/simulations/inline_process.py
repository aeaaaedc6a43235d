"""Run an inline simulation in another process, so that several run at a time.

    python -m fsl_sage_flwr.simulations.inline_process CLIENTS THREADS < config.json

Two runs share no process: PyTorch's random state and its number of threads belong to a process.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Any

from ..app.config import RunConfig
from ..cpus import LIMIT, usable_cpus
from .federation import INLINE, Federation
from .inline import train
from .process_environment import with_utf8
from .progress import Watcher, follow

# Seconds in which an interrupted run writes its summary, before it is killed.
STOP_TIMEOUT = 15.0


def run_in_a_process(
    config: RunConfig,
    federation: Federation,
    path: Path,
    environment: Mapping[str, str],
    watcher: Watcher,
    *,
    log: Path,
    stop: Event,
) -> dict[str, Any]:
    """Run the package's two apps in a new process; return the run's summary.

    Parameters
    ----------
    config, federation, path, environment, watcher
        As :func:`~fsl_sage_flwr.simulations.inline.run_in_this_process`.
    log : Path
        File to which the process appends its output.
    stop : Event
        Set by another thread to end the run.

    Raises
    ------
    KeyboardInterrupt
        ``stop`` was set.
    """
    threads = str(federation.cpus_per_client)
    variables = {
        **with_utf8({**os.environ, **environment}),
        "OMP_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        LIMIT: str(federation.cpus or usable_cpus()),
    }
    with tempfile.TemporaryFile("w+", encoding="utf-8") as given, log.open("ab") as output:
        json.dump(config.to_run_config(), given)
        given.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(federation.clients), threads],
            stdin=given, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            env=variables,
        )  # fmt: skip
    try:
        return follow(
            path,
            lambda: _status_of(process.poll()),
            watcher,
            stop,
            is_alive=lambda: process.poll() is None,
        )
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _status_of(returncode: int | None) -> str:
    """Return the status for ``follow``: a living process runs, however long a round takes."""
    if returncode is None:
        return "running"
    return f"finished: the process ended with status {returncode}"


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    train(
        RunConfig.from_run_config(json.load(sys.stdin)),
        Federation(int(sys.argv[1]), int(sys.argv[2]), engine=INLINE),
    )
