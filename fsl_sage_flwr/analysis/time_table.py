"""Build the table of hours and joules to a target: one row per setting."""

import math

import pandas as pd

from ..units import energy_unit, percent, time_unit
from .comparison import Comparison
from .declared import label_of
from .labels import value_text
from .result_table import TableFormat, formatted, setting_order
from .run_time import JOULES, SECONDS


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
        ``rounds``, seconds, joules and of the measure ``at_budget``.
    """
    keys = list(comparison.settings)
    figures = ["rounds", *SECONDS, *JOULES, "at_budget", "budget_hours"]
    by_seed = times.groupby([*keys, "seed"], dropna=False, sort=False)
    seeds = by_seed.agg({"reached": "all", **dict.fromkeys(figures, "mean")}).reset_index()
    groups = seeds.groupby(keys, dropna=False, sort=False)
    table = groups.agg(
        seeds=("seed", "size"),
        reached=("reached", "sum"),
        **{figure: (figure, "mean") for figure in figures},
    ).reset_index()
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
    target = comparison.target_text
    text[f"rounds to {target}"] = [
        f"{m}{v:.3g}" for m, v in zip(late, table["rounds"], strict=True)
    ]
    size, unit = time_unit(table["seconds"].max())
    text[f"{unit} to {target}"] = [
        f"{mark}{value / size:.3g}" for mark, value in zip(late, table["seconds"], strict=True)
    ]
    for name, heading in (("computing", "computing"), ("sending", "sending"),
                          ("waiting", "waiting")):  # fmt: skip
        shares = table[name] / table["seconds"].where(table["seconds"] > 0)
        text[heading] = ["–" if math.isnan(share) else percent(share, 0) for share in shares]
    for name, whose in (("client_joules", "clients"), ("server_joules", "server")):
        one, joules = energy_unit(table[name].max())
        text[f"{joules} of {whose}"] = [
            "–" if math.isnan(value) else f"{mark}{value / one:.3g}"
            for mark, value in zip(late, table[name], strict=True)
        ]
    measure, budget = comparison.measure, float(times["budget_hours"].iloc[0])
    in_percent = " (%)" if measure.in_percent else ""
    text[f"{measure.name} at {3600 * budget / size:.3g} {unit}{in_percent}"] = [
        "–" if math.isnan(value) else measure.number(value) for value in table["at_budget"]
    ]
    return formatted(text, len(comparison.settings), how)
