"""Place runs on an axis by the value of a setting."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from ..comparison import Comparison
from ..differences import is_missing
from ..labels import value_place, value_text
from ..load_results import HEAD_SIZE
from .panels import NothingToDrawError

ALPHA, IID = "alpha", "iid"
# Settings that an axis shows with its key, and that divide no panels.
SHOWN_WITH = {
    ALPHA: ("distribution", ALPHA, "shards-per-client"),
    HEAD_SIZE: ("auxiliary.head", "auxiliary.max-share"),
}
_LABELS = {
    ALPHA: "Dirichlet α",
    HEAD_SIZE: "parameters of one auxiliary head",
    "align.interval": "alignment interval l (rounds)",
    "num-supernodes": "clients",
}
_WIDE = 5.0  # ratio of largest to smallest number for a logarithmic axis
_MOST_TICKS = 8


@dataclass(frozen=True)
class Positions:
    """The positions of runs along a setting.

    Attributes
    ----------
    key : str
        The setting.
    places : Mapping of str to float
        Position by run; runs without a value have none.
    ticks : Mapping of float to str
        Text by position, in order.
    is_number : bool
        Whether a position is the value; if not, positions are evenly spaced.
    """

    key: str
    places: Mapping[str, float]
    ticks: Mapping[float, str]
    is_number: bool

    @property
    def label(self) -> str:
        """Label of the axis."""
        return _LABELS.get(self.key, self.key.replace("_", " "))

    @property
    def along(self) -> tuple[str, ...]:
        """Settings that divide no panels."""
        return SHOWN_WITH.get(self.key, (self.key,))

    def text_of(self, run: str) -> str:
        """Return the text of a run's position."""
        return self.ticks[self.places[run]]

    def set_axis(self, ax: Axes) -> None:
        """Set scale, limits and ticks of the horizontal axis."""
        places = list(self.ticks)
        if not self.is_number:
            ax.set_xticks(places, list(self.ticks.values()))
            ax.set_xlim(-0.3, len(places) - 0.7)
            return
        if places[0] > 0 and places[-1] / places[0] > _WIDE:
            ax.set_xscale("log")
        if len(places) <= _MOST_TICKS:
            ax.set_xticks(places, list(self.ticks.values()))
            ax.xaxis.set_minor_locator(NullLocator())
        ax.margins(x=0.08)


def positions_of(comparison: Comparison, key: str) -> Positions:
    """Return the positions of the runs along a setting.

    Numbers keep their distances. Texts are evenly spaced, and alphas too, because they differ by
    orders of magnitude and iid, which is their last position, has no alpha.

    Raises
    ------
    NothingToDrawError
        No run has the setting, or all have the same value.
    """
    runs = comparison.rounds.drop_duplicates("run")
    if key not in runs:
        differing = ", ".join(name for name in comparison.settings if name != "algorithm")
        raise NothingToDrawError(
            f"no run has a setting {key!r}; settings that differ: {differing or 'none'}"
        )
    values = {str(run): value for run, value in zip(runs["run"], runs[key], strict=True)
              if not is_missing(value)}  # fmt: skip
    if key == ALPHA:
        values |= dict.fromkeys(map(str, runs[runs["distribution"] == IID]["run"]), IID)
    if key == HEAD_SIZE:  # size 0 means no head
        values = {run: value for run, value in values.items() if value > 0}
    distinct = sorted(dict.fromkeys(values.values()), key=value_place)
    if len(distinct) < 2:
        found = ", ".join(_short(key, value) for value in distinct) or "none"
        either = "Dirichlet alphas (or iid)" if key == ALPHA else f"values of {key}"
        raise NothingToDrawError(f"no two {either} in the results: {found}")
    is_number = key != ALPHA and all(_is_number(value) for value in distinct)
    place = {value: float(value) if is_number else float(i) for i, value in enumerate(distinct)}
    return Positions(
        key,
        {run: place[value] for run, value in values.items()},
        {place[value]: _short(key, value) for value in distinct},
        is_number,
    )


def _is_number(value: Any) -> bool:
    return pd.api.types.is_number(value) and not isinstance(value, bool)


def _short(key: str, value: Any) -> str:
    if key == ALPHA or not _is_number(value):
        return value_text(value)
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if value >= size and key == HEAD_SIZE:
            return f"{value / size:.3g}{suffix}"
    return f"{value:g}"
