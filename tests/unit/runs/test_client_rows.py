"""The clients' rows are in ``clients.csv`` alone, and a checkpoint has their number."""

import csv
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from fsl_sage_flwr.runs.checkpoint import CheckpointError, read_checkpoint
from fsl_sage_flwr.runs.checksummed_file import write_checksummed
from fsl_sage_flwr.runs.client_rows import first_rows
from fsl_sage_flwr.runs.directory import RunDirectory

from ...tasks import CLIENTS
from .trained import fsl_sage, trained


def rows_of(directory: Path) -> list[dict[str, str]]:
    with RunDirectory.clients_of(directory).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def rounds_of(directory: Path) -> list[int]:
    return [int(row["round"]) for row in rows_of(directory)]


def expected(rounds: int) -> list[int]:
    return [number for number in range(1, rounds + 1) for _ in range(CLIENTS)]


def checkpoint(directory: Path, name: str = "latest") -> Path:
    return directory / "checkpoints" / f"{name}.pt"


@pytest.mark.slow
def test_a_checkpoint_has_their_number_and_a_resumed_run_goes_on_after_them(tmp_path: Path) -> None:
    trained(fsl_sage, tmp_path, 2)
    assert read_checkpoint(checkpoint(tmp_path))["clients"] == 2 * CLIENTS
    trained(fsl_sage, tmp_path, 3)
    assert rounds_of(tmp_path) == expected(3)
    assert read_checkpoint(checkpoint(tmp_path))["clients"] == 3 * CLIENTS


def test_a_checkpoint_is_no_larger_after_many_rounds(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write_history([], [])
    sizes = []
    for number in (1, 100_000):
        run.checkpoints.write(run.checkpoints.latest, {"clients": number})
        sizes.append(run.checkpoints.latest.stat().st_size)
    assert sizes[1] - sizes[0] < 16


@pytest.mark.slow
def test_rows_after_the_checkpoint_are_those_of_rounds_that_are_trained_again(
    tmp_path: Path,
) -> None:
    trained(fsl_sage, tmp_path, 3)
    file = RunDirectory.clients_of(tmp_path)
    # Killed while it wrote: half a row, whose round seems to be an early one.
    file.write_text(file.read_text(encoding="utf-8") + "1", encoding="utf-8")
    checkpoint(tmp_path, "previous").replace(checkpoint(tmp_path))
    trained(fsl_sage, tmp_path, 4)
    assert rounds_of(tmp_path) == expected(4)


@pytest.mark.slow
def test_a_run_in_another_directory_begins_with_the_rows_of_the_first(tmp_path: Path) -> None:
    trained(fsl_sage, tmp_path / "one", 2)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    before = rows_of(tmp_path / "one")
    trained(fsl_sage, tmp_path / "two", 3)
    assert rows_of(tmp_path / "one") == before
    assert rows_of(tmp_path / "two")[: len(before)] == before
    assert rounds_of(tmp_path / "two") == expected(3)


@pytest.mark.slow
def test_rows_that_are_gone_are_told_and_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained(fsl_sage, tmp_path, 2)
    RunDirectory.clients_of(tmp_path).unlink()
    with caplog.at_level(logging.WARNING):
        trained(fsl_sage, tmp_path, 3)
    assert f"has 0 of the {2 * CLIENTS} rows that the checkpoint counts" in caplog.text
    assert rounds_of(tmp_path) == [3] * CLIENTS
    assert read_checkpoint(checkpoint(tmp_path))["clients"] == CLIENTS


def in_format_3(file: Path, clients: Any) -> None:
    saved = torch.load(file, weights_only=True)
    write_checksummed(file, {**saved, "format": 3, "clients": clients})


@pytest.mark.slow
def test_a_checkpoint_of_the_format_before_has_the_rows_itself(tmp_path: Path) -> None:
    trained(fsl_sage, tmp_path, 2)
    theirs = [{"round": number, "client": 7, "battery": 0.5} for number in (1, 2)]
    in_format_3(checkpoint(tmp_path), theirs)
    trained(fsl_sage, tmp_path, 3)
    assert rounds_of(tmp_path) == [1, 2, *[3] * CLIENTS]
    assert [row["battery"] for row in rows_of(tmp_path)] == ["0.5", "0.5", *[""] * CLIENTS]
    assert read_checkpoint(checkpoint(tmp_path))["clients"] == 2 + CLIENTS


@pytest.mark.slow
def test_a_format_has_either_rows_or_their_number(tmp_path: Path) -> None:
    trained(fsl_sage, tmp_path, 1)
    best = checkpoint(tmp_path, "best")
    in_format_3(best, "4")
    with pytest.raises(CheckpointError, match="neither rows nor their number"):
        read_checkpoint(best)


@pytest.mark.parametrize(
    ("text", "count", "found"),
    [
        ("round,client\n1,0\n1,1\n2,0\n", 2, [("1", "0"), ("1", "1")]),
        ("round,client\n1,0\n1,1\n2,0\n", 9, [("1", "0"), ("1", "1")]),  # 2 is of a later round
        ("round,client\n1,0\n1", 9, [("1", "0")]),  # cut off
        ('round,client\n1,"a\nb"\n1,1\n', 1, [("1", "a\nb")]),
        ("round,client\n\0\0\0\0", 9, []),
        ("", 9, []),
        ("somebody's notes", 9, []),
    ],
)
def test_only_whole_rows_of_the_rounds_before_are_read(
    tmp_path: Path, text: str, count: int, found: list[tuple[str, str]]
) -> None:
    file = tmp_path / "clients.csv"
    file.write_text(text, encoding="utf-8")
    rows = list(first_rows(file, count, last_round=1))
    assert [(row["round"], row["client"]) for row in rows] == found
