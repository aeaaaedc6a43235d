"""Measure what runs lose by injected faults, against the runs that differ in nothing else."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from .comparison import JUDGED, Comparison, compare
from .differences import differing_settings, is_missing, without_unused_settings

# Keys of injected faults, with the words for a fraction of the clients.
FAULTS = {"faults.lost-clients": "of clients lost", "faults.cut-links": "of links cut"}
Fault = tuple[tuple[str, float], ...]
"""Keys of faults with their fractions."""


def fault_text(fault: Fault) -> str:
    """Return a fault in words: ``25 % of clients lost``."""
    return " and ".join(f"{100 * value:.3g} % {FAULTS[key]}" for key, value in fault)


@dataclass(frozen=True)
class Disturbed:
    """Undisturbed runs, and those with injected faults.

    Attributes
    ----------
    comparison : Comparison
        The undisturbed runs.
    lost : Mapping
        By fault and undisturbed run, the measure that the disturbed run lacks after the last round
        that both have: in favour of the undisturbed run, whatever the measure's direction.
    notes : tuple of str
        The comparison's, and one line about disturbed runs without an undisturbed one of the same
        settings and seed.
    """

    comparison: Comparison
    lost: dict[Fault, dict[str, float]]
    notes: tuple[str, ...]


def disturbed_runs(
    results: pd.DataFrame, *, target: float | None = None, mean_of: int = 1
) -> Disturbed:
    """Pair the runs with injected faults with those without.

    Parameters
    ----------
    results : DataFrame
        The result of :func:`~.load_results.load_results`, or the rounds of a comparison.
    target, mean_of
        As in :func:`~.comparison.compare`.

    Raises
    ------
    ResultsError
        No undisturbed run is completed.
    """
    has_fault = results["run"].map(
        {run: bool(_fault(rows.iloc[0])) for run, rows in results.groupby("run")}
    )
    comparison = compare(results[~has_fault], target=target, mean_of=mean_of)
    done = results[has_fault & results["completed"].astype(bool) & (results["round"] > 0)]
    done = without_unused_settings(done.sort_values(["run", "round"], kind="stable"))
    measure = comparison.measure
    done[JUDGED] = done.groupby("run", sort=False)[measure.column].transform(
        lambda values: values.rolling(comparison.mean_of).mean()
    )
    both = pd.concat([comparison.rounds, done])
    settings = [key for key in differing_settings(both) if key not in FAULTS]
    plain = {_place(run, settings): run for _, run in comparison.rounds.groupby("run")}
    lost: dict[Fault, dict[str, float]] = {}
    unpaired = []
    for name, run in done.groupby("run", sort=False):
        partner = plain.get(_place(run, settings))
        if partner is None:
            unpaired.append(str(name))
            continue
        last = min(run["round"].max(), partner["round"].max())
        with_faults, without = (
            rows[rows["round"] <= last][JUDGED].iloc[-1] for rows in (run, partner)
        )
        worse = without - with_faults if measure.higher_is_better else with_faults - without
        # Without the rounding error of the means, which would print as -0.00.
        rounded = round(float(worse), 9) + 0.0
        lost.setdefault(_fault(run.iloc[0]), {})[str(partner["run"].iloc[0])] = rounded
    notes = comparison.notes
    if unpaired:
        notes += (f"without an undisturbed run of the same settings: {', '.join(unpaired)}",)
    return Disturbed(comparison, dict(sorted(lost.items())), notes)


def _fault(row: "pd.Series[Any]") -> Fault:
    values = {key: row.get(key) for key in FAULTS}
    return tuple((k, float(str(v))) for k, v in values.items() if not is_missing(v) and v)


def _place(run: pd.DataFrame, settings: list[str]) -> tuple[str, ...]:
    """Return the settings and the seed of a run; missing values are equal to each other."""
    values = [run.iloc[0].get(key) for key in [*settings, "seed"]]
    return tuple("" if is_missing(value) else str(value) for value in values)
