"""Compute the hours and joules to a target of runs that exist, on given devices and links."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ..clock.fleet import Fleet
from ..clock.plan import Planned, plan
from ..clock.simulate import Clock
from ..clock.work import RoundWork
from .comparison import JUDGED, Comparison
from .declared import algorithm_schedules
from .load_results import ResultsError
from .round_work import works_of

SECONDS = ("seconds", "computing", "sending", "waiting", "serving")
JOULES = ("client_joules", "server_joules")


@dataclass(frozen=True)
class PlannedRun:
    """The rounds of a run until the target, ready for the clock.

    Attributes
    ----------
    run, algorithm : str
        Names of the run and its algorithm.
    reached : bool
        Whether the run reaches the target; otherwise all its rounds are planned.
    rounds : sequence of tuple
        Work and plan of each round.
    """

    run: str
    algorithm: str
    reached: bool
    rounds: Sequence[tuple[RoundWork, Sequence[Planned]]]

    @property
    def has_flops(self) -> bool:
        """Whether the run recorded its FLOPs."""
        return all(work.flops is not None for work, _ in self.rounds)

    def seconds(self, clock: Clock) -> float:
        """Return the seconds of all planned rounds."""
        return sum(clock.planned_time(planned, work).seconds for work, planned in self.rounds)


def plan_runs(comparison: Comparison) -> list[PlannedRun]:
    """Return the planned rounds of each compared run.

    Raises
    ------
    ResultsError
        An algorithm declares no schedule, or a run lacks rows of clients.
    """
    schedules, found = algorithm_schedules(), []
    for name, run in comparison.rounds.groupby("run", sort=False):
        algorithm = str(run["algorithm"].iloc[0])
        if algorithm not in schedules:
            raise ResultsError(
                f"{name}: the algorithm {algorithm!r} declares no schedule of a round; give its "
                "Algorithm one, and --import its module"
            )
        reached = comparison.measure.reached(run[JUDGED], comparison.target)
        until = run.loc[: reached.idxmax()] if reached.any() else run
        rounds = [(work, plan(schedules[algorithm], work)) for work in works_of(until)]
        found.append(PlannedRun(str(name), algorithm, bool(reached.any()), rounds))
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


def run_times(comparison: Comparison, runs: Sequence[PlannedRun], fleet: Fleet) -> pd.DataFrame:
    """Return seconds and joules to the target, a row per run.

    Returns
    -------
    DataFrame
        The settings, ``seed``, ``run``, ``reached``, ``rounds``, ``seconds`` of all rounds;
        ``computing``, ``sending`` and ``waiting`` of a mean client, ``serving`` of the server;
        ``client_joules`` of all clients, ``server_joules``. Where the target is not reached, these
        are of all rounds.

    Raises
    ------
    ResultsError
        A device's speed is in FLOP/s, and a run recorded no FLOPs.
    """
    check_flops(runs, fleet)
    clock, rows = Clock(fleet), []
    settings = comparison.rounds.drop_duplicates("run").set_index("run")
    for run in runs:
        times = [clock.planned_time(planned, work) for work, planned in run.rounds]
        own = settings.loc[run.run]
        rows.append(
            {
                **{key: own[key] for key in comparison.settings},
                "seed": own.get("seed"),
                "run": run.run,
                "reached": run.reached,
                "rounds": float(len(times)),
                **{name: sum(getattr(time, name) for time in times) for name in SECONDS + JOULES},
            }
        )
    return pd.DataFrame(rows)
