"""Flower apps whose clients break, and the files of their runs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from flwr.app import Context, Message, RecordDict

from fsl_sage_flwr.server_app import main
from fsl_sage_flwr.simulations.app_directory import write_app

from ..memory_grid import MemoryGrid
from . import faulty_client_app
from .faulty_client_app import DIRECTORY, app

Faults = dict[int, dict[int, str]]


def faulty_app(directory: Path) -> Path:
    """Write this package's app, with the ClientApp that has faults; return its directory."""
    written = write_app(directory)
    shutil.copyfile(faulty_client_app.__file__, written / "faulty_client_app.py")
    table = (written / "pyproject.toml").read_text(encoding="utf-8")
    assert "fsl_sage_flwr.client_app:app" in table
    table = table.replace("fsl_sage_flwr.client_app:app", "faulty_client_app:app")
    assert "fab-include = [" in table
    table = table.replace("fab-include = [", 'fab-include = ["faulty_client_app.py", ')
    (written / "pyproject.toml").write_text(table, encoding="utf-8")
    return written


def environment(faults: Faults, directory: Path) -> dict[str, str]:
    """Write which client has which fault in which round; return the variable that ClientApps read.

    They read the file with each message, and mark in the directory each client at its fault.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for mark in directory.glob("client?"):
        mark.unlink()
    (directory / "faults.json").write_text(json.dumps(faults), encoding="utf-8")
    return {DIRECTORY: str(directory)}


def simulated_with(
    faults: Faults,
    clients: int,
    config: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    after: Callable[[MemoryGrid, int, str], None] = lambda grid, client, reason: None,
    *,
    late: int = 0,
) -> None:
    """Do a run in this process with faults that say "raise" or "late".

    ``after`` is called with the grid, the client and the reason after each error; the last
    ``late`` clients join with the first error.
    """
    for name, value in environment(faults, Path(config["results-dir"])).items():
        monkeypatch.setenv(name, value)

    def tamper(client: int, reply: Message) -> Message:
        if reply.has_error():
            grid.contexts.update(missing)
            after(grid, client, reply.error.reason)
        return reply

    grid = MemoryGrid(app, clients, run_config=config, tamper=tamper)
    missing = dict(grid.contexts.popitem() for _ in range(late))
    main(grid, Context(1, 0, {}, RecordDict(), config))


def without_descriptions(history: pd.DataFrame) -> pd.DataFrame:
    """Return a history without the bytes that depend on the name of the nodes' app."""
    return history.drop(columns=["comm_bytes", "comm_bytes_ratio", "up_other_bytes"])


def clients_of(run: Path) -> pd.DataFrame:
    """Return what each client did, by round and client."""
    table = pd.read_csv(run / "clients.csv", keep_default_na=False)
    return table.set_index(["round", "client"])
