"""Write and extend the CSV tables of a run: a row per round, and a row per client and round."""

import csv
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..atomic_files import atomic_write, explain_disk_errors
from ..byte_columns import BYTE_COLUMNS

HISTORY_COLUMNS = (
    "round",
    "test_accuracy",
    "test_loss",
    "validation_accuracy",
    "validation_loss",
    "train_loss",
    "comm_bytes",
    "comm_bytes_reference",
    "comm_bytes_ratio",
    *BYTE_COLUMNS,
    "seconds",
    "client_seconds",
    "client_step_seconds",
    "server_seconds",
    "alignment_seconds",
    "evaluation_seconds",
    "alignment_cosine",
    "alignment_relative_error",
    "epsilon",
    "epsilon_of_labels",
    "clients",
    "failures",
)
CLIENT_COLUMNS = (
    "round", "client", "node_id", "examples", "update_norm", "seconds", "down_bytes", "up_bytes",
    "sample_uploads", "total_sample_uploads", "failure",
)  # fmt: skip
SECONDS_COLUMNS = tuple(column for column in HISTORY_COLUMNS if column.endswith("seconds"))


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> int:
    """Write a table; return its number of rows.

    The file is replaced atomically, so ``rows`` may be read from the old one.
    """
    count = 0
    with (
        atomic_write(path) as unfinished,
        unfinished.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, list(dict.fromkeys(columns)))
        writer.writeheader()
        for row in rows:
            writer.writerow(row)
            count += 1
    return count


def append_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Append rows in the order of the file's header; new columns come last.

    If the disk is full, none of the rows is appended.
    """
    with explain_disk_errors(path), path.open("r+", newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        header = list(reader.fieldnames or ())
        if set[str]().union(*rows).issubset(header):
            end = file.seek(0, os.SEEK_END)
            try:
                csv.DictWriter(file, header).writerows(rows)
                file.flush()
            except OSError:
                os.truncate(path, end)
                raise
            return
        every = [*reader, *rows]
    write_table(path, every, [*header, *columns_in(rows)])


def columns_in(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the columns of rows, in the order of their first occurrence."""
    return list(dict.fromkeys(column for row in rows for column in row))
