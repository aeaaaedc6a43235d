"""Read the rows of ``clients.csv`` that belong to a checkpoint."""

import csv
from collections.abc import Iterator
from pathlib import Path


def columns_of(file: Path) -> list[str]:
    """Return the columns of a ``clients.csv``; none if the file is missing."""
    try:
        with file.open(encoding="utf-8", errors="replace", newline="") as opened:
            return list(csv.DictReader(opened).fieldnames or ())
    except (FileNotFoundError, csv.Error):
        return []


def first_rows(file: Path, count: int, last_round: int) -> Iterator[dict[str, str]]:
    """Yield the first ``count`` rows of a ``clients.csv``.

    They are read one by one, because a thousand clients have a million rows after a thousand
    rounds. The iteration ends at the end of the file, or at an incomplete row or one of a later
    round, which the checkpoint did not count.

    Parameters
    ----------
    file : Path
        The file, which may be missing.
    count : int
        Number of rows counted by the checkpoint.
    last_round : int
        Last round of the checkpoint.
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
