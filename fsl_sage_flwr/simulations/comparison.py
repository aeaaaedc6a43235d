"""A comparison: the completed runs, the settings that differ, a target and a budget."""

import math
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from ..command_line.arguments.comparison import MEAN_OF
from .differences import differing_settings, without_what_has_no_effect
from .load_results import HEAD_SIZE, ResultsError
from .measure import Measure, measure_of
from .spread import Spread

Count = Literal["measured", "reference"]
COUNTS: dict[Count, str] = {"measured": "comm_bytes", "reference": "comm_bytes_reference"}

MIB = 2**20
JUDGED = "judged"  # column of a comparison's rounds


@dataclass(frozen=True)
class Comparison:
    """Completed runs, ready for tables and pictures.

    Attributes
    ----------
    rounds : DataFrame
        One row per round of each completed run, as :func:`load_results` returns them. A key
        without effect in a run (``align.interval`` with FedAvg, ``alpha`` with iid) has no
        value there. ``bytes`` is the requested count, since the run began. ``judged`` is the
        mean of the measure over the round and those before it, ``mean_of`` in all; NaN in the
        first ``mean_of - 1`` rounds.
    settings : tuple of str
        The keys that differ between the runs; ``algorithm`` is always the first.
    measure : Measure
        What the runs are judged by: accuracy where all have one.
    target : float
        The value of it, an accuracy between 0 and 1, whose cost is reported.
    mean_of : int
        Rounds whose mean is compared with the target and taken at the budget, at least 1: one
        round above a target is often a swing that the next ones take back.
    budget : float
        Bytes at which runs are compared.
    count : str
        ``measured``: the bytes of all messages' contents; ``reference``: bytes counted as in
        published figures.
    spread : {"deviation", "confidence"}
        What stands behind ``±`` in tables, and what bars and bands in pictures are: the standard
        deviation over the seeds, or the 95 % confidence interval of their mean.
    notes : tuple of str
        One line each about the runs left out, the counting, the target and the budget.
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

    @property
    def target_text(self) -> str:
        """The target as headings and captions name it, with the mean that is compared with it."""
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
    """Return a comparison of results, with defaults for the target and the budget.

    Parameters
    ----------
    results : DataFrame
        The result of :func:`load_results`, or some of its rows.
    target : float, optional
        Test accuracy, between 0 and 1, or loss or perplexity where the runs have none. By
        default the best value, rounded, that every setting reached in its best run.
    mean_of : int
        Rounds whose mean is compared with the target, at least 1. Where a run has fewer rounds,
        its number of rounds is taken for all.
    budget : float, optional
        Bytes. By default the smallest total of the runs.
    count : {"measured", "reference"}
        Which bytes to count.
    spread : {"deviation", "confidence"}
        What is given beside a mean over seeds.

    Raises
    ------
    ResultsError
        No run is completed, ``mean_of`` is below 1, or the target is no accuracy.
    """
    if mean_of < 1:
        raise ResultsError(f"mean_of = {mean_of}: give at least 1 round")
    unfinished = results[~results["completed"].astype(bool)]
    rounds = results[results["completed"].astype(bool) & (results["round"] > 0)]
    notes = [_left_out(unfinished)] if len(unfinished) else []
    if rounds.empty:
        raise ResultsError(f"no completed run to compare; {'; '.join(notes) or 'no rounds'}")
    rounds = rounds.assign(bytes=rounds[COUNTS[count]].astype("float64"))
    rounds = without_what_has_no_effect(rounds.sort_values(["run", "round"], kind="stable"))
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
    if target is None:
        of_settings = rounds.groupby([*settings], dropna=False, sort=False)[JUDGED]
        target, how = measure.common_target(of_settings.agg(measure.best))
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
        rounds, tuple(settings), measure, target, mean_of, budget, count, spread, tuple(notes)
    )


def mib(count: float) -> str:
    """Return bytes in MiB as text, with enough digits that small runs do not show as 0."""
    return f"{count / MIB:,.1f}" if count >= 10 * MIB else f"{count / MIB:.3g}"


def run_figures(comparison: Comparison) -> pd.DataFrame:
    """Return the figures of each run, one row per run.

    Returns
    -------
    DataFrame
        The settings, ``seed``, ``run`` and, where runs are judged by accuracy:
        ``final_accuracy``; ``best_accuracy``; ``bytes_to_target`` and ``rounds_to_target``, the
        bytes and the round number at the end of the first round at which the mean test accuracy
        of ``mean_of`` rounds reaches the target, NaN if it never does; ``accuracy_at_budget``,
        that mean at the last round whose bytes are within the budget, NaN if fewer rounds are;
        ``bytes``, ``rounds`` and ``seconds`` of the whole run.
    """
    rows, measure = [], comparison.measure
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
                "bytes_to_target": reached["bytes"].iloc[0] if len(reached) else math.nan,
                "rounds_to_target": float(reached["round"].iloc[0]) if len(reached) else math.nan,
                f"{measure.name}_at_budget": within[JUDGED].iloc[-1] if len(within) else math.nan,
                "bytes": last["bytes"],
                "rounds": float(last["round"]),
                "seconds": run["seconds"].sum(),
            }
        )
    return pd.DataFrame(rows)


def one_line(text: str) -> str:
    """Return the first line of a status, shortened to 120 characters."""
    first = text.strip().splitlines()[0] if text.strip() else text
    return first if len(first) <= 120 else f"{first[:119]}…"


def _left_out(unfinished: pd.DataFrame) -> str:
    reasons = unfinished.drop_duplicates("run")
    each = [f"{run} ({one_line(str(status))})" for run, status in
            zip(reasons["run"], reasons["status"], strict=True)]  # fmt: skip
    return f"left out, not completed: {', '.join(each)}"
