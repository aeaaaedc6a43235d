"""Compare two runs, in configuration and in results."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from ..byte_columns import BYTE_COLUMNS
from ..runs.provenance import OF_ONE_RUN
from ..units import mib
from .choices import Count
from .comparison import Comparison, compare, run_figures
from .differences import defines_an_experiment, is_missing, without_unused_settings
from .labels import NOTHING, value_text
from .load_results import CLIENTS, HEAD_SIZE, ResultsError, Run, read_runs, rows_of
from .provenance import provenance_of
from .result_table import columns_of
from .run_state import state_of
from .run_table import rounds_text

# For these a factor is more informative than a difference.
_BY_FACTOR = ("bytes", "bytes_to_target", "seconds", "rounds", "rounds_to_target")


@dataclass(frozen=True)
class Difference:
    """A line of the comparison, as text; ``change`` is from the first run to the second."""

    name: str
    first: str
    second: str
    change: str = ""


def load_pair(first: Path, second: Path) -> tuple[Run, Run]:
    """Return the runs in two directories, named by their directories.

    Raises
    ------
    ResultsError
        A directory has no run or several, or both directories are the same.
    """
    if first.resolve() == second.resolve():
        raise ResultsError(f"{str(second)!r} is compared with itself; name another run")
    return _one_run(first), _one_run(second)


def _one_run(path: Path) -> Run:
    runs = read_runs(path)
    if len(runs) > 1:
        raise ResultsError(
            f"{str(path)!r}: {len(runs)} runs are under it; name the directory of one, such as "
            f"{str(runs[0].path)!r}"
        )
    # Two runs in different directories may have the same name.
    return replace(runs[0], name=str(path))


def setting_differences(first: Run, second: Run) -> list[Difference]:
    """Return the differing settings, and versions and machine where known.

    The value of a setting without effect in a run is ``–``; a setting without effect in both runs
    is left out.
    """
    rows = without_unused_settings(rows_of([first, second])).drop_duplicates("run")
    one, other = rows.iloc[0], rows.iloc[1]
    keys = dict.fromkeys([*first.config, *second.config, CLIENTS, HEAD_SIZE])
    found = []
    for key in keys:
        if not defines_an_experiment(key):
            continue
        left, right = one.get(key), other.get(key)
        missing = is_missing(left), is_missing(right)
        if all(missing) or (not any(missing) and left == right):
            continue
        found.append(Difference(key, value_text(left), value_text(right)))
    ours, theirs = provenance_of(first.path), provenance_of(second.path)
    for key in dict.fromkeys([*ours, *theirs]):
        if key not in OF_ONE_RUN and ours.get(key) != theirs.get(key):
            pair = (ours.get(key, NOTHING), theirs.get(key, NOTHING))
            found.append(Difference(key, *pair))
    return found


def result_differences(
    first: Run,
    second: Run,
    *,
    target: float | None,
    mean_of: int,
    budget: float | None,
    count: Count,
) -> tuple[list[Difference], tuple[str, ...]]:
    """Return the figures of both runs, and notes on how they were counted.

    Runs of every state are compared, by their finished rounds.

    Parameters
    ----------
    first, second : Run
        The runs.
    target, mean_of, budget, count
        As in :func:`~.comparison.compare`.
    """
    lines = [
        Difference("status", state_of(first), state_of(second)),
        Difference("rounds done", rounds_text(first), rounds_text(second)),
    ]
    if first.history.empty or second.history.empty:
        without = [run.name for run in (first, second) if run.history.empty]
        return lines, (f"no figures: {' and '.join(without)} finished no round",)
    rows = rows_of([first, second]).assign(completed=True)
    comparison = compare(rows, target=target, mean_of=mean_of, budget=budget, count=count)
    lines += _figures(comparison, (first.name, second.name))
    lines += _bytes_by_kind(comparison.rounds, (first.name, second.name))
    return lines, comparison.notes


def _figures(comparison: Comparison, names: tuple[str, str]) -> list[Difference]:
    figures = run_figures(comparison).set_index("run")
    lines = []
    for column in columns_of(comparison):
        one, other = (float(figures[column.figure][name]) for name in names)
        by_factor = column.figure in _BY_FACTOR
        lines.append(_line(column.heading, one, other, column.number, by_factor=by_factor))
    return lines


def _bytes_by_kind(rounds: pd.DataFrame, names: tuple[str, str]) -> list[Difference]:
    """Return the measured bytes of each kind of payload that occurs in either run."""
    lines = []
    sums = rounds.groupby("run")[[c for c in BYTE_COLUMNS if c in rounds]].sum()
    for column in sums:
        one, other = (float(sums[column][name]) for name in names)
        if one or other:
            direction, _, kind = str(column).removesuffix("_bytes").partition("_")
            heading = f"MiB {direction}, {kind.replace('_', ' ')}"
            lines.append(_line(heading, one, other, mib, by_factor=True))
    return lines


def _line(
    name: str, one: float, other: float, number: Callable[[float], str], *, by_factor: bool
) -> Difference:
    first, second = (NOTHING if math.isnan(value) else number(value) for value in (one, other))
    change = ""
    if by_factor and one > 0 and other > 0:
        change = f"× {other / one:.3g}"
    elif not math.isnan(other - one):
        change = f"{'−' if other < one else '+'}{number(abs(other - one))}"
    return Difference(name, first, second, change)
