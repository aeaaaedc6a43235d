"""Compute the spread over seeds: a standard deviation or a confidence interval of the mean."""

import math
from collections.abc import Hashable, Sequence

import pandas as pd
from scipy.special import stdtrit

from .choices import Spread

CONFIDENCE = 0.95

# Names in captions and legends, and suffixes of CSV columns.
NAMES: dict[Spread, str] = {
    "deviation": "standard deviation",
    "confidence": "95 % confidence interval of the mean",
}
SUFFIXES: dict[Spread, str] = {"deviation": "std", "confidence": "ci95"}


def half_width(values: "pd.Series[float]", spread: Spread) -> float:
    """Return the length of a bar on either side of the mean.

    Parameters
    ----------
    values : Series
        One figure per seed; missing ones are ignored.
    spread : {"deviation", "confidence"}
        The sample standard deviation; or half of the 95 % confidence interval of the mean, by
        Student's t: ``t · deviation / √n``.

    Returns
    -------
    float
        NaN for fewer than two values.
    """
    deviation, count = float(values.std()), int(values.count())
    if spread == "deviation" or count < 2:
        return deviation
    quantile = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))
    return quantile * deviation / math.sqrt(count)


def over_seeds(
    rows: pd.DataFrame, by: Sequence[Hashable], column: str, spread: Spread
) -> pd.DataFrame:
    """Return mean and spread over the seeds, per group of rows.

    Runs of one group and seed are averaged first, so that each seed counts once.

    Parameters
    ----------
    rows : DataFrame
        Rows with ``seed``, the columns of ``by``, and ``column``.
    by : sequence
        Columns that define the groups.
    column : str
        Column to average.
    spread : {"deviation", "confidence"}
        As in :func:`half_width`.

    Returns
    -------
    DataFrame
        By group: ``mean``; ``spread``, 0 for one seed; ``seeds``, their number.
    """
    each = rows.groupby([*by, "seed"], dropna=False)[column].mean().astype(float)
    groups = each.groupby(level=list(range(len(by))), dropna=False)
    widths = groups.agg(lambda values: half_width(values, spread))
    return pd.DataFrame(
        {"mean": groups.mean(), "spread": widths.fillna(0.0), "seeds": groups.count()}
    )
