"""Reduce the figures of runs to one row per setting: mean and spread over the seeds."""

import math
from collections.abc import Callable, Sequence

import pandas as pd

from .choices import Spread
from .labels import NOTHING
from .spread import SUFFIXES, half_width


def by_seed(runs: pd.DataFrame, settings: Sequence[str], figures: Sequence[str]) -> pd.DataFrame:
    """Return one row per setting and seed: the mean of its runs, so that each seed counts once.

    Parameters
    ----------
    runs : DataFrame
        A row per run, with the settings, ``seed`` and the figures.
    settings, figures : sequence of str
        Columns that define a row, and those that are averaged.
    """
    groups = runs.groupby([*settings, "seed"], dropna=False, sort=False)[list(figures)]
    return groups.mean().reset_index()


def over_all_seeds(
    seeds: pd.DataFrame, settings: Sequence[str], figures: Sequence[str], spread: Spread
) -> pd.DataFrame:
    """Return one row per setting, with mean and spread of each figure over the seeds.

    Parameters
    ----------
    seeds : DataFrame
        Of :func:`by_seed`.
    settings, figures : sequence of str
        As for :func:`by_seed`.
    spread : {"deviation", "confidence"}
        As for :func:`~.spread.half_width`.

    Returns
    -------
    DataFrame
        The settings; ``seeds``, the number of seeds; each figure's mean under its name, and its
        spread under ``FIGURE_std`` or ``FIGURE_ci95``, NaN for fewer than two values.
    """
    groups = seeds.groupby(list(settings), dropna=False, sort=False)
    table, columns = groups.size().rename("seeds").reset_index(), dict[str, object]()
    for figure in figures:
        values = groups[figure]
        columns[figure] = values.mean().to_numpy()
        widths = values.agg(lambda column: half_width(column, spread))
        columns[f"{figure}_{SUFFIXES[spread]}"] = widths.to_numpy()
    return pd.concat([table, pd.DataFrame(columns)], axis=1)


def seeds_that_reached(seeds: pd.DataFrame, settings: Sequence[str]) -> "pd.Series[int]":
    """Return the number of seeds per setting whose runs all reached the target.

    ``seeds`` has ``reached``, the share of a seed's runs that did, in the order of
    :func:`over_all_seeds`.
    """
    whole = seeds.assign(reached=seeds["reached"] == 1)
    counts = whole.groupby(list(settings), dropna=False, sort=False)["reached"].sum()
    return counts.reset_index(drop=True).astype(int)


def in_units_of(size: float) -> Callable[[float], str]:
    """Return how a value is written in a unit of this size: with three digits."""
    return lambda value: f"{value / size:.3g}"


def mean_text(mean: float, spread: float, number: Callable[[float], str]) -> str:
    """Return a mean with its spread: ``1.5 ± 0.2``; a dash for NaN, the mean alone for one seed."""
    if math.isnan(mean):
        return NOTHING
    return number(mean) if math.isnan(spread) else f"{number(mean)} ± {number(spread)}"
