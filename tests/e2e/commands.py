"""Run the commands that a user runs."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil

from fsl_sage_flwr.runs.csv_tables import SECONDS_COLUMNS

from .forked_programs import for_simulations

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PATIENCE = 900.0
"""Seconds until what has not happened is a failure; a slow machine is none."""


def fsl_sage(
    *words: str, cwd: Path, environment: Mapping[str, str] | None = None, forked: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run ``fsl-sage``; ``forked`` from a process that has imported what it imports."""
    installed = [sys.executable, "-m", "fsl_sage_flwr"]
    return subprocess.run(
        [*([str(for_simulations() / "fsl-sage")] if forked else installed), *words],
        cwd=cwd, env={**os.environ, **(environment or {})},
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    encoding="utf-8")  # fmt: skip


def run_directory(results: Path) -> Path:
    """Return the only run under a results directory."""
    (summary,) = results.rglob("summary.json")
    return summary.parent


def summary_of(run: Path) -> dict[str, object]:
    return dict(json.loads((run / "summary.json").read_text(encoding="utf-8")))


def history_of(run: Path) -> pd.DataFrame:
    """Return the history without what no two runs share."""
    return pd.read_csv(run / "history.csv").drop(columns=list(SECONDS_COLUMNS))


def started_by(mark: str, command: str = "") -> list[psutil.Process]:
    """Return the processes that were handed an environment with this text in it.

    Only those of a command, if one is named.
    """
    found = []
    for process in psutil.process_iter():
        try:
            handed_down = any(mark in value for value in process.environ().values())
            named = not command or any(command in word for word in process.cmdline())
        except psutil.Error:
            continue
        if handed_down and named and process.pid != os.getpid():
            found.append(process)
    return found


def kill_started_by(mark: str, command: str = "") -> None:
    """Kill the processes of :func:`started_by`; one may end by itself meanwhile."""
    for process in started_by(mark, command):
        with suppress(psutil.NoSuchProcess):
            process.kill()
