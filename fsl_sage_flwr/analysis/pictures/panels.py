"""Divide a picture into panels, by the settings that lines and axis do not show."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..comparison import Comparison
from ..declared import label_of
from ..differences import is_missing
from ..labels import settings_text, value_place
from ..load_results import ResultsError

MOST_PANELS = 30
LENGTH = "num-server-rounds"


class NothingToDrawError(ResultsError):
    """The results lack the data of a picture; one line gives the reason."""


@dataclass(frozen=True)
class Panel:
    """A part of a picture.

    Attributes
    ----------
    title : str
        The panel's settings; empty for a single panel.
    rounds : DataFrame
        Its rows of ``Comparison.rounds``.
    by_length : bool
        Whether runs of different ``num-server-rounds`` have separate lines.
    """

    title: str
    rounds: pd.DataFrame
    by_length: bool = True

    def lines(self, order: Collection[str]) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield an algorithm and the rows of its runs, per line; algorithms in the given order."""
        for name in order:
            rows = self.rounds[self.rounds["algorithm"] == name]
            if rows.empty:
                continue
            if self.by_length and LENGTH in rows:
                for _, runs in rows.groupby(LENGTH, dropna=False):
                    yield name, runs
            else:
                yield name, rows

    def label(self, runs: pd.DataFrame) -> str:
        """Return a line's label: the algorithm, with its rounds if they differ in the panel."""
        name = str(runs["algorithm"].iloc[0])
        same = self.rounds[self.rounds["algorithm"] == name]
        if not self.by_length or LENGTH not in same or same[LENGTH].nunique() < 2:
            return label_of(name)
        return f"{label_of(name)}, {runs[LENGTH].iloc[0]} rounds"


def panels_of(comparison: Comparison, along: Collection[str] = ()) -> list[Panel]:
    """Divide the runs by every setting that differs.

    The algorithm, ``num-server-rounds`` and ``along`` divide no panels.

    A run without effect of a setting (FedAvg, if ``align.interval`` differs) is in every panel with
    comparable runs.

    Parameters
    ----------
    comparison : Comparison
        The runs.
    along : collection of str
        Settings shown within a panel.

    Raises
    ------
    NothingToDrawError
        There are more than ``MOST_PANELS`` panels.
    """
    shown = {"algorithm", LENGTH, *along}
    keys = [key for key in comparison.settings if key not in shown]
    runs = comparison.rounds.drop_duplicates("run")
    values = {run: _values(row, keys) for run, row in runs.set_index("run").iterrows()}
    distinct = list(dict.fromkeys(values.values()))
    kept = [one for one in distinct if not any(_covers(one, other) for other in distinct)]
    if len(kept) > MOST_PANELS:
        raise NothingToDrawError(
            f"{len(kept)} panels, one per combination of {', '.join(keys)}; draw fewer runs "
            f"(at most {MOST_PANELS} panels)"
        )
    kept.sort(key=lambda combination: [value_place(value) for value in combination])
    panels = []
    for combination in kept:
        names = [run for run, own in values.items() if own == combination
                 or _covers(own, combination)]  # fmt: skip
        rounds = comparison.rounds[comparison.rounds["run"].isin(names)]
        title = settings_text(dict(zip(keys, combination, strict=True)))
        panels.append(Panel(title, rounds, by_length=LENGTH not in along))
    return panels


def _values(row: "pd.Series[Any]", keys: list[str]) -> tuple[Any, ...]:
    return tuple(None if is_missing(row[key]) else row[key] for key in keys)


def _covers(general: tuple[Any, ...], special: tuple[Any, ...]) -> bool:
    """Return whether ``general`` equals ``special`` with some settings left open."""
    pairs = list(zip(general, special, strict=True))
    return general != special and all(a is None or a == b for a, b in pairs)
