"""Prepare completed runs for comparison: differing settings, a target and a budget."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from ..runs.virtual_time import JOULES, SECONDS
from ..units import mib
from .choices import MEAN_OF, Count, Spread
from .differences import differing_settings, without_unused_settings
from .load_results import HEAD_SIZE, ResultsError
from .measure import Measure, measure_of

COUNTS: dict[Count, str] = {"measured": "comm_bytes", "reference": "comm_bytes_reference"}

JUDGED = "judged"  # column of a comparison's rounds
HOURS, KILOJOULES = "virtual_hours", "kilojoules"  # columns of runs with a virtual clock


@dataclass(frozen=True)
class Comparison:
    """Completed runs, ready for tables and pictures.

    Attributes
    ----------
    rounds : DataFrame
        One row per round of each completed run, as :func:`load_results` returns them. Keys without
        effect in a run (``align.interval`` with FedAvg, ``alpha`` with iid) have no value there.
        ``bytes`` is the requested count since the start of the run, ``elapsed`` the seconds of its
        rounds so far; ``virtual_hours`` and ``kilojoules`` those of the virtual clock, where all
        runs have one. ``judged`` is the mean of the measure over the last ``mean_of`` rounds; NaN
        in the first ``mean_of - 1`` rounds.
    settings : tuple of str
        The keys that differ between the runs; ``algorithm`` is always the first.
    measure : Measure
        Figure by which the runs are compared: accuracy if all have one.
    target : float
        Value of the measure, such as an accuracy between 0 and 1; its cost is reported.
    mean_of : int
        Number of rounds, at least 1, whose mean is compared with the target and reported at the
        budget: a single round above a target is often an outlier.
    budget : float
        Bytes at which runs are compared.
    count : str
        ``measured``: the bytes of all messages' contents; ``reference``: bytes counted as in
        published figures.
    spread : {"deviation", "confidence"}
        Meaning of ``±`` in tables, and of bars and bands in pictures: the standard deviation over
        the seeds, or the 95 % confidence interval of their mean.
    notes : tuple of str
        One line each about the excluded runs, the counting, the target and the budget.
    target_is_given : bool
        Whether the target was requested, and is the same for any part of the runs.
    """

    rounds: pd.DataFrame
    settings: tuple[str, ...]
    measure: Measure
    target: float
    mean_of: int
    budget: float
    count: Count
    spread: Spread
    notes: tuple[str, ...]
    target_is_given: bool = False

    def within(self, rounds: pd.DataFrame) -> "Comparison":
        """Return the comparison of some of the runs; a default target is chosen among them."""
        if self.target_is_given:
            return replace(self, rounds=rounds)
        target, _ = _common_target(rounds, self.settings, self.measure)
        return replace(self, rounds=rounds, target=target)

    @property
    def target_text(self) -> str:
        """Target as in headings and captions, with the number of rounds of the mean."""
        text = self.measure.text(self.target)
        return text if self.mean_of == 1 else f"{text} (mean of {self.mean_of} rounds)"


def compare(
    results: pd.DataFrame,
    *,
    target: float | None = None,
    mean_of: int = MEAN_OF,
    budget: float | None = None,
    count: Count = "measured",
    spread: Spread = "deviation",
) -> Comparison:
    """Compare results, with defaults for the target and the budget.

    Parameters
    ----------
    results : DataFrame
        The result of :func:`load_results`, or some of its rows.
    target : float, optional
        Test accuracy, between 0 and 1, or loss or perplexity if the runs have none. By default the
        best value, rounded, that the best run of every setting reached.
    mean_of : int
        Number of rounds whose mean is compared with the target, at least 1; at most the number of
        rounds of the shortest run.
    budget : float, optional
        Bytes; by default the smallest total of the runs.
    count : {"measured", "reference"}
        Bytes to count.
    spread : {"deviation", "confidence"}
        Spread beside a mean over seeds.

    Raises
    ------
    ResultsError
        No run is completed, ``mean_of`` is below 1, or the target is not an accuracy.
    """
    if mean_of < 1:
        raise ResultsError(f"mean_of = {mean_of}: give at least 1 round")
    unfinished = results[~results["completed"].astype(bool)]
    rounds = results[results["completed"].astype(bool) & (results["round"] > 0)]
    notes = [_left_out(unfinished)] if len(unfinished) else []
    if rounds.empty:
        raise ResultsError(f"no completed run to compare; {'; '.join(notes) or 'no rounds'}")
    rounds = without_unused_settings(rounds.sort_values(["run", "round"], kind="stable"))
    by_run = rounds.groupby("run", sort=False)
    rounds["bytes"] = rounds[COUNTS[count]].astype("float64")
    rounds["elapsed"] = by_run["seconds"].cumsum()
    for column, recorded, unit in ((HOURS, SECONDS, 3600.0), (KILOJOULES, JOULES, 1000.0)):
        if recorded in rounds and rounds[recorded].notna().all():
            rounds[column] = by_run[recorded].cumsum() / unit
    settings = differing_settings(rounds)
    what = "contents of all messages, without Flower's framing"
    if count == "reference":
        what = "bytes as published figures count them: raw tensors, labels free"
    notes.append(f"communication: {what}, all clients, since the run began")
    measure = measure_of(rounds)
    of_runs = rounds.groupby("run", sort=False)[measure.column]
    mean_of = min(mean_of, int(of_runs.size().min()))
    rounds[JUDGED] = of_runs.transform(lambda values: values.rolling(mean_of).mean())
    if mean_of > 1:
        notes.append(f"target and budget: mean {measure.name} of {mean_of} rounds")
    target_is_given = target is not None
    if target is None:
        target, how = _common_target(rounds, settings, measure)
        notes.append(
            f"target {measure.name}: {measure.text(target)}, {how} that each setting reached "
            "with some seed"
        )
    elif measure.in_percent and target > 1:
        raise ResultsError(f"--target {target:g} is no accuracy between 0 and 1, such as 0.9")
    if budget is None:
        budget = float(rounds.groupby("run")["bytes"].max().min())
        notes.append(f"budget: {mib(budget)} MiB, the smallest total of the compared runs")
    return Comparison(
        rounds, tuple(settings), measure, target, mean_of, budget, count, spread, tuple(notes),
        target_is_given,
    )  # fmt: skip


def run_figures(comparison: Comparison) -> pd.DataFrame:
    """Return the figures of the runs, one row per run.

    Returns
    -------
    DataFrame
        The settings, ``seed``, ``run`` and, for runs compared by accuracy: ``final_accuracy``;
        ``best_accuracy``; ``bytes_to_target`` and ``rounds_to_target``, counted at the end of the
        first round at which the mean test accuracy of ``mean_of`` rounds reaches the target, NaN if
        it never does; ``accuracy_at_budget``, this mean at the last round within the budget, NaN if
        too few rounds are; ``bytes``, ``rounds`` and ``seconds`` of the whole run. Of runs with a
        virtual clock also ``virtual_hours`` and ``kilojoules``, of the whole run and to the target
        (``…_to_target``).
    """
    rows, measure = [], comparison.measure
    costs = ["bytes", *(name for name in (HOURS, KILOJOULES) if name in comparison.rounds)]
    for name, run in comparison.rounds.groupby("run", sort=False):
        first, last = run.iloc[0], run.iloc[-1]
        reached = run[measure.reached(run[JUDGED], comparison.target)]
        within = run[run["bytes"] <= comparison.budget]
        rows.append(
            {
                **{key: first[key] for key in comparison.settings},
                "seed": first.get("seed"),
                "run": name,
                HEAD_SIZE: first[HEAD_SIZE],
                f"final_{measure.name}": last[measure.column],
                f"best_{measure.name}": measure.best(run[measure.column]),
                **{
                    f"{cost}_to_target": reached[cost].iloc[0] if len(reached) else math.nan
                    for cost in costs
                },
                "rounds_to_target": float(reached["round"].iloc[0]) if len(reached) else math.nan,
                f"{measure.name}_at_budget": within[JUDGED].iloc[-1] if len(within) else math.nan,
                **{cost: last[cost] for cost in costs},
                "rounds": float(last["round"]),
                "seconds": run["seconds"].sum(),
            }
        )
    return pd.DataFrame(rows)


def _common_target(
    rounds: pd.DataFrame, settings: Sequence[str], measure: Measure
) -> tuple[float, str]:
    """Return a rounded target that each setting reached, and how it was chosen."""
    of_settings = rounds.groupby([*settings], dropna=False, sort=False)[JUDGED]
    return measure.common_target(of_settings.agg(measure.best))


def one_line(text: str) -> str:
    """Return the first line of a status, shortened to 120 characters."""
    first = text.strip().splitlines()[0] if text.strip() else text
    return first if len(first) <= 120 else f"{first[:119]}…"


def _left_out(unfinished: pd.DataFrame) -> str:
    reasons = unfinished.drop_duplicates("run")
    each = [f"{run} ({one_line(str(status))})" for run, status in
            zip(reasons["run"], reasons["status"], strict=True)]  # fmt: skip
    return f"left out, not completed: {', '.join(each)}"
