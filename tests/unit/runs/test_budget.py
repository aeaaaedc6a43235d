"""A run ends, completed, at its target or when its budget is spent."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fsl_sage_flwr import Recorder
from fsl_sage_flwr.clock.fleet import fleet_of
from fsl_sage_flwr.runs.budget import Budget
from fsl_sage_flwr.runs.directory import RunDirectory
from fsl_sage_flwr.runs.virtual_time import VirtualTime
from fsl_sage_flwr.strategies import CseFsl
from fsl_sage_flwr.strategies.cse_fsl import ALGORITHM

from ...memory_grid import MemoryGrid
from ...tasks import CLIENTS, client_of, small_app, small_batches, small_task

ROWS = [
    {"comm_bytes": 2**20, "test_accuracy": 0.5, "virtual_seconds": 1800.0,
     "virtual_client_joules": 600.0},
    {"comm_bytes": 2**21, "test_accuracy": 0.6, "virtual_seconds": 1800.0,
     "virtual_client_joules": 400.0},
]  # fmt: skip


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        (Budget(), None),
        (Budget(communication_mib=2.0), "2.0 MiB reach max-communication-mib"),
        (Budget(communication_mib=2.1), None),
        (Budget(accuracy=0.6), "accuracy 60.00 % reaches stop.accuracy"),
        (Budget(accuracy=0.61), None),
        (Budget(hours=1.0), "1 virtual hours reach stop.hours"),
        (Budget(hours=1.01), None),
        (Budget(kilojoules=1.0), "1 kJ of the clients reach stop.kilojoules"),
        (Budget(kilojoules=1.01), None),
    ],
)
def test_each_limit_is_reached_at_its_value(budget: Budget, reason: str | None) -> None:
    assert budget.reached(ROWS) == reason


def test_a_run_without_accuracy_or_energy_reaches_neither() -> None:
    row: dict[str, Any] = {**ROWS[0], "test_accuracy": None, "virtual_client_joules": None}
    assert Budget(accuracy=0.1, kilojoules=0.1).reached([row]) is None


CLOCK = VirtualTime(fleet_of("1e9", "10@50", "1e9"), ALGORITHM.schedule or ())


def recorder(directory: Path, **changes: Any) -> Recorder:
    strategy = CseFsl(small_task(), keep_optimizer_state=False)
    batches = list(small_batches(client_of(0), 9))
    settings = {"batch-size": 4, "local-epochs": 1, "server-update-interval": 2}
    given: dict[str, Any] = {"clock": CLOCK, "settings": settings, **changes}
    return Recorder(strategy, directory, lambda: batches, **given)


def rows_of(directory: Path) -> list[dict[str, str]]:
    with RunDirectory.history_of(directory).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_run_records_its_virtual_seconds_and_ends_when_they_are_spent(tmp_path: Path) -> None:
    recorder(tmp_path / "whole").train(MemoryGrid(small_app(), CLIENTS), 4)
    seconds = [float(row["virtual_seconds"]) for row in rows_of(tmp_path / "whole")]
    assert len(seconds) == 4
    assert min(seconds) > 0.05  # two messages, half a round trip each
    hours = sum(seconds[:2]) / 3600
    recorder(tmp_path / "short", budget=Budget(hours=hours)).train(
        MemoryGrid(small_app(), CLIENTS), 4
    )
    assert [float(row["virtual_seconds"]) for row in rows_of(tmp_path / "short")] == seconds[:2]
    summary = json.loads(RunDirectory.summary_of(tmp_path / "short").read_text(encoding="utf-8"))
    assert summary["completed"] is True
    assert RunDirectory.client_half_of(tmp_path / "short").is_file()
    with pytest.raises(FileExistsError, match="a completed run"):
        recorder(tmp_path / "short").train(MemoryGrid(small_app(), CLIENTS), 4)


@pytest.mark.slow
def test_a_resumed_run_continues_its_clock(tmp_path: Path) -> None:
    recorder(tmp_path / "whole").train(MemoryGrid(small_app(), CLIENTS), 3)
    recorder(tmp_path / "part").train(MemoryGrid(small_app(), CLIENTS), 2)
    recorder(tmp_path / "part").train(MemoryGrid(small_app(), CLIENTS), 3, resume=tmp_path / "part")
    ours, whole = rows_of(tmp_path / "part"), rows_of(tmp_path / "whole")
    assert [row["virtual_seconds"] for row in ours] == [row["virtual_seconds"] for row in whole]


@pytest.mark.slow
def test_the_power_of_a_device_may_be_unknown(tmp_path: Path) -> None:
    recorder(tmp_path).train(MemoryGrid(small_app(), CLIENTS), 1)
    assert rows_of(tmp_path)[0]["virtual_client_joules"] == ""
    powered = replace(CLOCK, fleet=fleet_of("pi5", "lte", "server-gpu"))
    own = recorder(tmp_path / "powered", clock=powered)
    own.train(MemoryGrid(small_app(), CLIENTS), 1)
    assert float(rows_of(tmp_path / "powered")[0]["virtual_client_joules"]) > 0
