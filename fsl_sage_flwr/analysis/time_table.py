"""Build the table of hours and joules to a target: one row per setting."""

import math
from collections.abc import Callable

import pandas as pd

from ..units import energy_unit, percent, time_unit
from .comparison import Comparison
from .declared import label_of
from .labels import NOTHING, value_text
from .result_table import TableFormat, formatted, setting_order
from .run_time import JOULES, SECONDS
from .seed_table import by_seed, in_units_of, mean_text, over_all_seeds, seeds_that_reached
from .spread import SUFFIXES


def time_table(comparison: Comparison, times: pd.DataFrame) -> pd.DataFrame:
    """Return one row per setting, with unformatted means over the seeds.

    Parameters
    ----------
    comparison : Comparison
        The compared runs.
    times : DataFrame
        The result of :func:`~.run_time.run_times`.

    Returns
    -------
    DataFrame
        The settings; ``seeds``; ``reached``, the number of seeds that reached the target; means of
        ``rounds``, seconds, joules and of the measure ``at_budget``, each with its spread over the
        seeds (``FIGURE_std``, or ``FIGURE_ci95``; NaN for one seed); ``budget_hours``.
    """
    keys = list(comparison.settings)
    figures = ["rounds", *SECONDS, *JOULES, "at_budget"]
    seeds = by_seed(times, keys, ["reached", *figures])
    table = over_all_seeds(seeds, keys, figures, comparison.spread)
    table.insert(len(keys) + 1, "reached", seeds_that_reached(seeds, keys))
    table["budget_hours"] = float(times["budget_hours"].iloc[0])
    return table.loc[setting_order(table, keys)].reset_index(drop=True)


def format_time_table(
    comparison: Comparison, times: pd.DataFrame, how: TableFormat = "markdown"
) -> str:
    """Return the table as Markdown, LaTeX or, with unformatted numbers, CSV."""
    table = time_table(comparison, times)
    if how == "csv":
        return table.to_csv(index=False)
    text = pd.DataFrame(index=table.index)
    for key in comparison.settings:
        text[key] = [(label_of if key == "algorithm" else value_text)(v) for v in table[key]]
    every = (table["reached"] == table["seeds"]).tolist()
    late = ["" if reached else "> " for reached in every]
    target, suffix = comparison.target_text, SUFFIXES[comparison.spread]

    def cells(figure: str, number: Callable[[float], str], marks: list[str]) -> list[str]:
        columns = marks, table[figure], table[f"{figure}_{suffix}"]
        each = zip(*columns, strict=True)
        return [_marked(mark, mean_text(mean, spread, number)) for mark, mean, spread in each]

    text[f"rounds to {target}"] = cells("rounds", in_units_of(1.0), late)
    size, unit = time_unit(table["seconds"].max())
    text[f"{unit} to {target}"] = cells("seconds", in_units_of(size), late)
    for name, heading in (("computing", "computing"), ("sending", "sending"),
                          ("waiting", "waiting")):  # fmt: skip
        shares = table[name] / table["seconds"].where(table["seconds"] > 0)
        text[heading] = [NOTHING if math.isnan(share) else percent(share, 0) for share in shares]
    for name, whose in (("client_joules", "clients"), ("server_joules", "server")):
        one, joules = energy_unit(table[name].max())
        text[f"{joules} of {whose}"] = cells(name, in_units_of(one), late)
    measure, budget = comparison.measure, float(times["budget_hours"].iloc[0])
    in_percent = " (%)" if measure.in_percent else ""
    heading = f"{measure.name} at {3600 * budget / size:.3g} {unit}{in_percent}"
    text[heading] = cells("at_budget", measure.number, [""] * len(table))
    return formatted(text, len(comparison.settings), how)


def _marked(mark: str, text: str) -> str:
    return text if text == NOTHING else f"{mark}{text}"
