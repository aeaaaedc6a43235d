"""Read the rows of clients of several runs."""

from pathlib import Path

import pandas as pd

from ..runs.directory import RunDirectory
from .load_results import PATH, ResultsError

_NEEDED = ("client", "seconds", "down_bytes", "up_bytes", "failure")


def client_rows(rounds: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``clients.csv`` of some runs, one per run, round and client.

    Parameters
    ----------
    rounds : DataFrame
        Rows of :func:`load_results`; ``path`` locates each run.

    Returns
    -------
    DataFrame
        The columns of the files; ``run``, ``algorithm`` and ``seed``; ``bytes``, both directions;
        ``failures``, 1 where the client was excluded from the round. Empty if no run has rows.

    Raises
    ------
    ResultsError
        A file cannot be read, or lacks a column.
    """
    tables = list[pd.DataFrame]()
    if PATH not in rounds:
        return pd.DataFrame()
    for _, run in rounds.drop_duplicates("run").iterrows():
        file = RunDirectory.clients_of(Path(str(run[PATH])))
        if not file.is_file():
            continue
        table = _read(file)
        if len(table):
            of_run = {key: run[key] for key in ("run", "algorithm", "seed")}
            tables.append(table.assign(
                **of_run, bytes=table["down_bytes"] + table["up_bytes"],
                failures=(table["failure"].notna() & (table["failure"] != "")).astype(int),
            ))  # fmt: skip
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _read(file: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(file)
    except OSError as error:
        raise ResultsError(f"{file}: cannot be read ({error.strerror})") from error
    except ValueError as error:  # not CSV, or not text
        raise ResultsError(f"{file}: not a table of clients: {error}") from error
    missing = [column for column in _NEEDED if column not in table]
    if missing:
        raise ResultsError(f"{file}: its header has no {', '.join(missing)}")
    return table
