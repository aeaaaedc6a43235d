"""Read the results of all runs under a directory as tidy data."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.key_table import with_own_new_names
from ..runs.csv_tables import HISTORY_COLUMNS
from ..runs.directory import RunDirectory
from ..runs.find_runs import MARKER, runs_under
from ..user_error import UserError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("flwr.fsl_sage")

CLIENTS = "num-supernodes"
HEAD_SIZE = "auxiliary_parameters"
UNUSED = "unused_keys"
PATH = "path"
# Settings used by tables and pictures; a run of a custom model may lack them.
LOOKED_AT = (
    "algorithm", "model", "dataset", "distribution", "alpha", "shards-per-client", "seed",
    "align.interval",
)  # fmt: skip


class ResultsError(ValueError, UserError):
    """The results cannot be read or compared; one line gives the reason."""


@dataclass(frozen=True)
class Run:
    """The files of one run.

    Attributes
    ----------
    name : str
        The run's directory, relative to the directory of the results.
    path : Path
        The run's directory.
    config : dict
        The resolved run configuration, kebab-case; empty if the run ended too early to write it.
    federation : dict
        Options of ``flwr run --federation-config``; empty for a deployment.
    summary : dict
        The content of ``summary.json``.
    history : DataFrame
        One row per finished round, with the columns of ``history.csv``.
    unused_keys : dict or None
        Keys without effect, each with the key that is why; None if the run recorded none: it is
        an earlier version's, or another project's.
    """

    name: str
    path: Path
    config: dict[str, Any]
    federation: dict[str, Any]
    summary: dict[str, Any]
    history: pd.DataFrame = field(repr=False)
    unused_keys: dict[str, Any] | None = None

    @property
    def completed(self) -> bool:
        """Whether the run is completed."""
        return self.summary.get("completed") is True

    @property
    def status(self) -> str:
        """``completed``, ``running`` (also after a kill), or the error that ended the run."""
        return str(self.summary.get("status", "no summary.json"))


def read_runs(directory: Path | str, say: Callable[[str], None] = log.warning) -> list[Run]:
    """Return every run under a directory, sorted by path.

    The given directory may be a run itself; see :func:`~fsl_sage_flwr.runs.find_runs.is_run`.

    Parameters
    ----------
    directory : Path or str
        The directory.
    say : callable, optional
        Called with a line per skipped directory with a broken or foreign file; by default the log.

    Raises
    ------
    ResultsError
        The directory does not exist, has no run, or has no readable run.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise ResultsError(f"{str(directory)!r} is not a directory; name a results directory")
    found = runs_under(directory)
    if not found:
        raise ResultsError(
            f"{str(directory)!r}: no run is under it (no {MARKER}); name the "
            "results-dir of `fsl-sage run`"
        )
    runs, problems = list[Run](), list[str]()
    for path in found:
        try:
            runs.append(_run(path, directory))
        except ResultsError as error:
            problems.append(str(error))
    if not runs:
        raise ResultsError("; ".join(problems))
    for problem in problems:
        say(f"left out: {problem}")
    return runs


def load_results(directory: Path | str, say: Callable[[str], None] = log.warning) -> pd.DataFrame:
    """Return the results of every run under a directory, one row per run and round.

    Parameters
    ----------
    directory : Path or str
        A results directory, any directory in it, or the directory of a run.
    say : callable, optional
        Called with a line per skipped directory that cannot be read as a run.

    Returns
    -------
    DataFrame
        The columns of ``history.csv`` (bytes and seconds as counted), every key of the run
        configuration, ``num-supernodes`` (number of clients; missing in a deployment),
        ``auxiliary_parameters`` (of one head; 0 without a head), ``run`` (the run's directory,
        relative to the given one), ``path`` (that directory), ``unused_keys`` (keys without
        effect, separated by spaces; missing if the run recorded none), ``completed`` and
        ``status``. Unfinished and failed runs have ``completed`` False. A run that ended before its
        first round has one row, round 0, without figures.

    Raises
    ------
    ResultsError
        There is no run, or none is readable.
    """
    return rows_of(read_runs(directory, say))


def rows_of(runs: list[Run]) -> pd.DataFrame:
    """Return the rows of :func:`load_results` for runs that are already read."""
    import pandas as pd

    rounds = pd.concat([_rounds(run) for run in runs], ignore_index=True)
    constants = [
        {
            "run": run.name,
            PATH: str(run.path),
            **run.config,
            CLIENTS: run.federation.get(CLIENTS),
            HEAD_SIZE: run.summary.get(HEAD_SIZE),
            UNUSED: None if run.unused_keys is None else " ".join(run.unused_keys),
            "completed": run.completed,
            "status": run.status,
        }
        for run in runs
    ]
    keys = list(dict.fromkeys([*(key for row in constants for key in row), *LOOKED_AT]))
    values = [[row.get(key) for key in keys] for row in constants]
    per_run = pd.DataFrame(values, columns=keys, dtype=object)
    # A key that a run lacks keeps the type object; otherwise its integers would become floats.
    whole = [key for key in keys if all(row.get(key) is not None for row in constants)]
    per_run[whole] = per_run[whole].infer_objects()
    per_run = per_run.astype({CLIENTS: "Int64", HEAD_SIZE: "Int64"})
    # A copy has a block for each type. pandas warns of every column that is added to more than 100.
    return rounds.merge(per_run, on="run", how="left").copy()


def _rounds(run: Run) -> pd.DataFrame:
    import pandas as pd

    rows = run.history
    if rows.empty:
        rows = pd.DataFrame([{**dict.fromkeys(HISTORY_COLUMNS), "round": 0}])
    kinds = {name: "Int64" if _is_whole(name) else "float64" for name in rows.columns}
    return rows.astype(kinds).assign(run=run.name)


def _is_whole(column: str) -> bool:
    counted = "bytes" in column and not column.endswith("ratio")
    return counted or column in ("round", "clients", "failures")


def _run(path: Path, root: Path) -> Run:
    summary = read_json(RunDirectory.summary_of(path))
    if summary and "completed" not in summary:
        raise ResultsError(f"{RunDirectory.summary_of(path)}: not a run's: it has no 'completed'")
    read_json(RunDirectory.provenance_of(path))  # a report shows it
    return Run(
        name=path.resolve().name if path == root else path.relative_to(root).as_posix(),
        path=path,
        config=with_own_new_names(read_json(RunDirectory.config_of(path))),
        federation=read_json(RunDirectory.federation_of(path)),
        summary=summary,
        history=_history(RunDirectory.history_of(path), finished=summary.get("completed") is True),
        unused_keys=_unused_keys(path),
    )


def _unused_keys(path: Path) -> dict[str, Any] | None:
    file = RunDirectory.unused_keys_of(path)
    return read_json(file) if file.is_file() else None


def read_json(file: Path) -> dict[str, Any]:
    """Return the content of a run's JSON file; empty if it does not exist.

    Raises
    ------
    ResultsError
        The content is not a JSON object.
    """
    if not file.is_file():
        return {}
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsError(f"{file}: cannot be read ({error.strerror})") from error
    except ValueError as error:  # not JSON, or not text
        raise ResultsError(f"{file}: not valid JSON ({error}); remove the run or the file") from (
            error
        )
    if not isinstance(value, dict):
        raise ResultsError(f"{file}: a JSON object is needed, not {type(value).__name__}")
    return value


def _history(file: Path, *, finished: bool) -> pd.DataFrame:
    """Read a history, without an incomplete last line of a running or killed run."""
    import pandas as pd

    if not file.is_file():
        return pd.DataFrame(columns=list(HISTORY_COLUMNS))
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ResultsError(f"{file}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ResultsError(f"{file}: not text: {error}") from error
    whole, _, rest = text.rpartition("\n")
    if rest and finished:
        raise ResultsError(f"{file}: its last line is cut off, though the run completed")
    lines = list(csv.reader(io.StringIO(whole)))
    if not lines:
        return pd.DataFrame(columns=list(HISTORY_COLUMNS))
    header = lines[0]
    missing = {"round", "test_accuracy", "test_loss", "comm_bytes", "seconds"} - set(header)
    if missing:
        raise ResultsError(f"{file}: not a history: its header has no {', '.join(sorted(missing))}")
    return pd.DataFrame([_row(file, number, header, line) for number, line in
                         enumerate(lines[1:], start=2)], columns=header)  # fmt: skip


def _row(file: Path, number: int, header: list[str], line: list[str]) -> dict[str, float | None]:
    if len(line) != len(header):
        raise ResultsError(f"{file}, line {number}: {len(line)} values in {len(header)} columns")
    row: dict[str, float | None] = {}
    for name, text in zip(header, line, strict=True):
        try:
            row[name] = float(text) if text else None
        except ValueError:
            raise ResultsError(
                f"{file}, line {number}: {name} = {text!r}: a number is needed"
            ) from None
    return row
