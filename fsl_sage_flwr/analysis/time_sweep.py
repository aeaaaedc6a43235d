"""Compute the time to a target over bandwidths or latencies, and where the fastest changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import pandas as pd

from ..clock.fleet import Fleet
from ..clock.simulate import Clock
from .declared import label_of
from .labels import place
from .run_time import PlannedRun

Axis = Literal["bandwidth", "latency"]
AXES: tuple[Axis, ...] = get_args(Axis)

LOWEST, HIGHEST = {"bandwidth": 0.1, "latency": 1.0}, {"bandwidth": 1e4, "latency": 1e4}
POINTS_PER_DECADE = 5
UNITS = {"bandwidth": "Mbit/s", "latency": "ms"}
_HALVINGS = 20


@dataclass(frozen=True)
class Crossing:
    """A place on an axis at which another algorithm becomes the fastest.

    Attributes
    ----------
    place : float
        Mbit/s or ms.
    below, above : str
        The fastest algorithms on either side.
    """

    place: float
    below: str
    above: str

    @property
    def place_text(self) -> str:
        """The place with three digits, without an exponent."""
        return f"{self.place:,.0f}" if self.place >= 1000 else f"{self.place:.3g}"


@dataclass(frozen=True)
class TimeSweep:
    """Hours to the target by algorithm, along an axis.

    Attributes
    ----------
    axis : {"bandwidth", "latency"}
        Mbit/s in both directions of all links, or ms of a round trip.
    hours : DataFrame
        A row per place on the axis, a column per algorithm: means over its runs.
    crossings : sequence of Crossing
        Ascending.
    unreached : sequence of str
        Algorithms with a run that does not reach the target; they are in no column.
    """

    axis: Axis
    hours: pd.DataFrame
    crossings: Sequence[Crossing]
    unreached: Sequence[str]

    def describe(self) -> str:
        """Describe in one line which algorithm is the fastest where."""
        if self.hours.columns.empty:
            return f"{self.axis}: no algorithm reaches the target with all its runs"
        unit = UNITS[self.axis]
        if not self.crossings:
            fastest = str(self.hours.iloc[0].idxmin())
            return f"{self.axis}: {label_of(fastest)} is the fastest everywhere"
        first = self.crossings[0]
        parts = [f"{label_of(first.below)} is the fastest below {first.place_text} {unit}"]
        parts += [f"{label_of(c.above)} above {c.place_text} {unit}" for c in self.crossings]
        return f"{self.axis}: {', '.join(parts)}"


def fleet_at(fleet: Fleet, axis: Axis, place: float) -> Fleet:
    """Return the fleet with the bandwidth (Mbit/s) or latency (ms) of all its links replaced."""
    if axis == "bandwidth":
        return fleet.with_links(bandwidth=place)
    return fleet.with_links(latency=place / 1000)


def time_sweep(runs: Sequence[PlannedRun], fleet: Fleet, axis: Axis) -> TimeSweep:
    """Return the hours to the target along an axis, with the crossings.

    Parameters
    ----------
    runs : sequence of PlannedRun
        Runs that differ in algorithm and seed.
    fleet : Fleet
        Devices and links; the axis' value is replaced in all links.
    axis : {"bandwidth", "latency"}
        0.1 Mbit/s to 10 Gbit/s, or 1 ms to 10 s.
    """
    by_algorithm: dict[str, list[PlannedRun]] = {}
    for run in sorted(runs, key=lambda run: place(run.algorithm)):
        by_algorithm.setdefault(run.algorithm, []).append(run)
    unreached = [a for a, own in by_algorithm.items() if not all(run.reached for run in own)]
    drawn = {a: own for a, own in by_algorithm.items() if a not in unreached}
    low, high = np.log10(LOWEST[axis]), np.log10(HIGHEST[axis])
    places = np.logspace(low, high, round((high - low) * POINTS_PER_DECADE) + 1)
    rows = [_hours(drawn, fleet, axis, float(x)) for x in places]
    hours = pd.DataFrame(rows, index=places, columns=list(drawn), dtype=float)
    return TimeSweep(axis, hours, _crossings(drawn, fleet, axis, hours), unreached)


def _hours(
    drawn: Mapping[str, Sequence[PlannedRun]], fleet: Fleet, axis: Axis, at: float
) -> dict[str, float]:
    clock = Clock(fleet_at(fleet, axis, at))
    return {
        algorithm: sum(run.seconds(clock) for run in own) / len(own) / 3600
        for algorithm, own in drawn.items()
    }


def _crossings(
    drawn: Mapping[str, Sequence[PlannedRun]], fleet: Fleet, axis: Axis, hours: pd.DataFrame
) -> list[Crossing]:
    """Find by bisection where the fastest algorithm of one point ceases to be the fastest."""
    if hours.columns.empty:
        return []
    fastest, found = [str(name) for name in hours.idxmin(axis=1)], []
    for k, (below, above) in enumerate(pairwise(fastest)):
        if below == above:
            continue
        pair = {name: drawn[name] for name in (below, above)}
        low, high = float(hours.index[k]), float(hours.index[k + 1])
        for _ in range(_HALVINGS):
            middle = float(np.sqrt(low * high))
            at = _hours(pair, fleet, axis, middle)
            low, high = (middle, high) if at[below] <= at[above] else (low, middle)
        found.append(Crossing(float(np.sqrt(low * high)), below, above))
    return found
