"""The rows of ``clients.csv`` that a checkpoint counts."""

import csv
from collections.abc import Iterator
from pathlib import Path


def columns_of(file: Path) -> list[str]:
    """Return the columns of a ``clients.csv``; none if there is no such file."""
    try:
        with file.open(encoding="utf-8", errors="replace", newline="") as opened:
            return list(csv.DictReader(opened).fieldnames or ())
    except (FileNotFoundError, csv.Error):
        return []


def first_rows(file: Path, count: int, last_round: int) -> Iterator[dict[str, str]]:
    """Iterate over the first ``count`` rows of a ``clients.csv``.

    They are read one by one: a thousand clients have a million rows after a thousand rounds. The
    iteration ends early where the file does, or where a row is not whole or of a later round.
    Such rows are not those that the checkpoint counted.

    Parameters
    ----------
    file : Path
        It need not exist.
    count : int
        How many rows the checkpoint counted.
    last_round : int
        The round after which the checkpoint was written.
    """
    try:
        with file.open(encoding="utf-8", errors="replace", newline="") as opened:
            for number, row in enumerate(csv.DictReader(opened)):
                if number == count or not _is_whole(row, last_round):
                    return
                yield row
    except (FileNotFoundError, csv.Error):
        return


def _is_whole(row: dict[str, str], last_round: int) -> bool:
    number = row.get("round") or ""
    return None not in row.values() and number.isdecimal() and int(number) <= last_round
