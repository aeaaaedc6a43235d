"""The files of a run that merges late replies, and its resumption."""

import csv
from pathlib import Path
from typing import Any

import pytest

from fsl_sage_flwr import run_inline
from fsl_sage_flwr.client_app import app as client_app
from fsl_sage_flwr.server_app import app as server_app

CLIENTS = 3


def run(directory: Path, **more: Any) -> Path:
    table = directory / "slow.csv"
    table.write_text("client,factor,mbit_down,mbit_up\n2,9,1,1\n", encoding="utf-8")
    keys = {
        "algorithm": "cse_fsl", "batch-size": 240, "num-server-rounds": 4, "clock.device": "pi5",
        "clock.link": "10/10@20", "clock.clients": str(table), "clock.replies": True,
        "async.buffer": 2, "results-dir": str(directory / "results"), **more,
    }  # fmt: skip
    run_inline(server_app, client_app, CLIENTS, keys)
    (found,) = (directory / "results").rglob("history.csv")
    return found.parent


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


@pytest.mark.slow
def test_a_run_records_the_clocks_seconds_and_the_staleness(tmp_path: Path) -> None:
    run_directory = run(tmp_path)
    history, clients = (rows_of(run_directory / name) for name in ("history.csv", "clients.csv"))
    assert [row["clients"] for row in history] == ["2"] * 4
    late = [row for row in clients if row["staleness"] not in ("", "0")]
    assert {row["client"] for row in late} <= {"2"}
    asked = [row for row in clients if row["client"] == "2" and row["staleness"] == ""]
    assert asked[0]["round"] == "1"
    assert int(asked[0]["down_bytes"]) > 0
    assert int(asked[0]["up_bytes"]) == 0
    # A round of the others is some ten times as short as the slow client's work.
    seconds = [float(row["virtual_seconds"]) for row in history]
    assert all(each > 0 for each in seconds)
    again = tmp_path / "again"
    again.mkdir()
    other = run(again)
    assert [row["virtual_seconds"] for row in rows_of(other / "history.csv")] == [
        row["virtual_seconds"] for row in history
    ]


@pytest.mark.slow
def test_a_run_waits_for_nobody_but_its_buffer(tmp_path: Path) -> None:
    total = {}
    for name, buffer in (("late", 2), ("all", 0)):
        (tmp_path / name).mkdir()
        history = rows_of(run(tmp_path / name, **{"async.buffer": buffer}) / "history.csv")
        total[name] = sum(float(row["virtual_seconds"]) for row in history)
    assert total["late"] < total["all"] / 3
