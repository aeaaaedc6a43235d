"""Build the table of hours and joules to a target: one row per setting."""

import math

import pandas as pd

from ..units import percent
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
    text[f"hours to {target}"] = [
        f"{mark}{value / 3600:.3g}" for mark, value in zip(late, table["seconds"], strict=True)
    ]
    for name, heading in (("computing", "computing"), ("sending", "sending"),
                          ("waiting", "waiting")):  # fmt: skip
        shares = table[name] / table["seconds"].where(table["seconds"] > 0)
        text[heading] = ["–" if math.isnan(share) else percent(share, 0) for share in shares]
    for name, heading in (("client_joules", "kJ of clients"), ("server_joules", "kJ of server")):
        text[heading] = [
            "–" if math.isnan(value) else f"{mark}{value / 1000:.3g}"
            for mark, value in zip(late, table[name], strict=True)
        ]
    measure, budget = comparison.measure, float(times["budget_hours"].iloc[0])
    unit = " (%)" if measure.in_percent else ""
    text[f"{measure.name} at {budget:.3g} h{unit}"] = [
        "–" if math.isnan(value) else measure.number(value) for value in table["at_budget"]
    ]
    return formatted(text, len(comparison.settings), how)
