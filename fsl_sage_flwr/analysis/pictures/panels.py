"""Divide a picture into panels, by the settings that lines and axis do not show."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..comparison import Comparison
from ..differences import is_missing
from ..labels import settings_text, value_place
from ..load_results import ResultsError

MOST_PANELS = 30


class NothingToDrawError(ResultsError):
    """The results lack the data of a picture; one line gives the reason."""


@dataclass(frozen=True)
class Panel:
    """A panel's title (empty for a single panel) and its rows of ``Comparison.rounds``."""

    title: str
    rounds: pd.DataFrame

    def by_algorithm(self, order: Collection[str]) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield each algorithm of the panel with its rows, in the given order."""
        for name in order:
            rows = self.rounds[self.rounds["algorithm"] == name]
            if len(rows):
                yield name, rows


def panels_of(comparison: Comparison, along: Collection[str] = ()) -> list[Panel]:
    """Divide the runs by every setting that differs, except the algorithm and ``along``.

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
    keys = [key for key in comparison.settings if key != "algorithm" and key not in along]
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
        panels.append(Panel(settings_text(dict(zip(keys, combination, strict=True))), rounds))
    return panels


def _values(row: "pd.Series[Any]", keys: list[str]) -> tuple[Any, ...]:
    return tuple(None if is_missing(row[key]) else row[key] for key in keys)


def _covers(general: tuple[Any, ...], special: tuple[Any, ...]) -> bool:
    """Return whether ``general`` equals ``special`` with some settings left open."""
    pairs = list(zip(general, special, strict=True))
    return general != special and all(a is None or a == b for a, b in pairs)
