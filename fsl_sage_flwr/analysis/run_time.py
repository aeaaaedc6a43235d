"""Compute the hours and joules to a target of runs that exist, on given devices and links."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..clock.fleet import Fleet
from ..clock.plan import Planned, plan
from ..clock.simulate import Clock, RoundTime
from ..clock.work import RoundWork
from .comparison import HOURS, JUDGED, KILOJOULES, Comparison
from .declared import algorithm_schedules
from .load_results import ResultsError
from .round_work import works_of

SECONDS = ("seconds", "computing", "sending", "waiting", "serving")
JOULES = ("client_joules", "server_joules")


@dataclass(frozen=True)
class PlannedRun:
    """The rounds of a run, ready for the clock.

    Attributes
    ----------
    run, algorithm : str
        Names of the run and its algorithm.
    reached : bool
        Whether the run reaches the target.
    until : int
        Number of rounds until the target; all rounds if it is not reached.
    rounds : sequence of tuple
        Work and plan of each round.
    judged : sequence of float
        The measure after each round, as the comparison judges it.
    """

    run: str
    algorithm: str
    reached: bool
    until: int
    rounds: Sequence[tuple[RoundWork, Sequence[Planned]]]
    judged: Sequence[float]

    @property
    def has_flops(self) -> bool:
        """Whether the run recorded its FLOPs."""
        return all(work.flops is not None for work, _ in self.rounds)

    def seconds(self, clock: Clock) -> float:
        """Return the seconds of the rounds until the target."""
        return sum(time.seconds for time in self.times(clock, self.until))

    def times(self, clock: Clock, rounds: int | None = None) -> list[RoundTime]:
        """Return seconds and joules of the first rounds, by default of all."""
        return [clock.planned_time(planned, work) for work, planned in self.rounds[:rounds]]


def plan_runs(comparison: Comparison) -> list[PlannedRun]:
    """Return the planned rounds of each compared run.

    Raises
    ------
    ResultsError
        An algorithm declares no schedule, a run lacks rows of clients, or its rounds ended without
        replies that came later (``async.buffer``).
    """
    schedules, found = algorithm_schedules(), []
    for name, run in comparison.rounds.groupby("run", sort=False):
        algorithm = str(run["algorithm"].iloc[0])
        if algorithm not in schedules:
            raise ResultsError(
                f"{name}: the algorithm {algorithm!r} declares no schedule of a round; give its "
                "Algorithm one, and --import its module"
            )
        if float(run.iloc[0].get("async.buffer", 0) or 0) > 0:
            raise ResultsError(
                f"{name}: with async.buffer a round's end depends on the clock of the run; take "
                "virtual_seconds of its history.csv, or give a directory without such runs"
            )
        reached = comparison.measure.reached(run[JUDGED], comparison.target)
        until = len(run.loc[: reached.idxmax()]) if reached.any() else len(run)
        rounds = [(work, plan(schedules[algorithm], work)) for work in works_of(run)]
        judged = run[JUDGED].astype(float).tolist()
        found.append(PlannedRun(str(name), algorithm, bool(reached.any()), until, rounds, judged))
    return found


def check_flops(runs: Sequence[PlannedRun], fleet: Fleet) -> None:
    """Refuse devices with a speed in FLOP/s for runs that recorded no FLOPs.

    Raises
    ------
    ResultsError
        Names the first such run.
    """
    without = next((run.run for run in runs if not run.has_flops), None)
    if fleet.needs_flops and without is not None:
        raise ResultsError(
            f"{without}: an earlier version recorded no FLOPs; give --device measured and --server "
            "measured, or factors on measured seconds, such as measured*20"
        )


def on_clock(comparison: Comparison, runs: Sequence[PlannedRun], fleet: Fleet) -> Comparison:
    """Return a comparison whose hours and kilojoules are those on given devices and links.

    Kilojoules are missing if a device's power is unknown.

    Raises
    ------
    ResultsError
        A device's speed is in FLOP/s, and a run recorded no FLOPs.
    """
    check_flops(runs, fleet)
    clock = Clock(fleet)
    rounds = comparison.rounds.drop(columns=[HOURS, KILOJOULES], errors="ignore")
    times = {run.run: run.times(clock) for run in runs}
    each = [time for name in rounds["run"].unique() for time in times[name]]
    own = {HOURS: pd.Series([time.seconds for time in each], index=rounds.index) / 3600}
    joules = pd.Series([time.client_joules for time in each], index=rounds.index)
    if not joules.isna().any():
        own[KILOJOULES] = joules / 1000
    names = rounds["run"]
    totals = {key: values.groupby(names, sort=False).cumsum() for key, values in own.items()}
    return replace(comparison, rounds=rounds.assign(**totals))


def run_times(
    comparison: Comparison,
    runs: Sequence[PlannedRun],
    fleet: Fleet,
    budget_hours: float | None = None,
) -> pd.DataFrame:
    """Return seconds and joules to the target, and the measure at a budget, a row per run.

    Parameters
    ----------
    comparison, runs, fleet
        Compared runs, their plans, devices and links.
    budget_hours : float, optional
        Hours at which runs are compared; by default the smallest total of the runs.

    Returns
    -------
    DataFrame
        The settings, ``seed``, ``run``, ``reached``, ``rounds``, ``seconds`` of all rounds;
        ``computing``, ``sending`` and ``waiting`` of a mean client, ``serving`` of the server;
        ``client_joules`` of all clients, ``server_joules``. Where the target is not reached, these
        are of all rounds. ``at_budget`` is the measure after the last round within
        ``budget_hours``, NaN if too few rounds are.

    Raises
    ------
    ResultsError
        A device's speed is in FLOP/s, and a run recorded no FLOPs.
    """
    check_flops(runs, fleet)
    clock, rows = Clock(fleet), []
    settings = comparison.rounds.drop_duplicates("run").set_index("run")
    all_times = [run.times(clock) for run in runs]
    hours = [np.cumsum([time.seconds for time in times]) / 3600 for times in all_times]
    if budget_hours is None:
        budget_hours = min(float(own[-1]) for own in hours)
    for run, whole, ends in zip(runs, all_times, hours, strict=True):
        times, own = whole[: run.until], settings.loc[run.run]
        within = int((ends <= budget_hours * (1 + 1e-9)).sum())
        rows.append(
            {
                **{key: own[key] for key in comparison.settings},
                "seed": own.get("seed"),
                "run": run.run,
                "reached": run.reached,
                "rounds": float(len(times)),
                "budget_hours": budget_hours,
                "at_budget": run.judged[within - 1] if within else math.nan,
                **{name: sum(getattr(time, name) for time in times) for name in SECONDS + JOULES},
            }
        )
    return pd.DataFrame(rows)
