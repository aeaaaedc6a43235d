"""Build one table by three protocols: quality under a budget, cost to a target, robustness.

They are those of EdgeFlowerTune (Geng et al., arXiv 2605.08636), without its costs of memory.
"""

import math
from collections.abc import Mapping

import pandas as pd

from ..units import MIB, energy_unit, time_unit
from .comparison import HOURS, JUDGED, KILOJOULES, Comparison
from .declared import label_of
from .labels import value_text
from .result_table import TableFormat, formatted, setting_order
from .robustness import Disturbed, fault_text

# Columns of a comparison's rounds that are costs.
COSTS = ("bytes", HOURS, KILOJOULES)


def budgets_of(comparison: Comparison, given: Mapping[str, float]) -> dict[str, float]:
    """Return the budget of each cost that the runs have; by default their smallest total.

    Parameters
    ----------
    comparison : Comparison
        The runs.
    given : Mapping
        Budgets by column: ``bytes``, ``virtual_hours``, ``kilojoules``.
    """
    costs = [cost for cost in COSTS if cost in comparison.rounds]
    smallest = comparison.rounds.groupby("run")[costs].max().min()
    return {cost: given.get(cost, float(smallest[cost])) for cost in costs}


def protocol_table(runs: Disturbed, budgets: Mapping[str, float]) -> pd.DataFrame:
    """Return the figures of the three protocols, one row per setting, as means over the seeds.

    Returns
    -------
    DataFrame
        The settings; ``seeds``; ``reached``, the number of seeds that reached the target;
        ``MEASURE_at_COST``, the measure after the last round within the budget, NaN if too few
        rounds are; ``COST_to_target``, NaN if a seed does not reach it; and for each fault, under
        its words, the measure that it costs.
    """
    comparison = runs.comparison
    measure, rows = comparison.measure, []
    for name, run in comparison.rounds.groupby("run", sort=False):
        reached = run[measure.reached(run[JUDGED], comparison.target)]
        within = {cost: run[run[cost] <= limit * (1 + 1e-9)] for cost, limit in budgets.items()}
        rows.append(
            {
                **{key: run.iloc[0][key] for key in comparison.settings},
                "seed": run.iloc[0].get("seed"),
                "reached": float(len(reached) > 0),
                **{
                    f"{measure.name}_at_{cost}": rounds[JUDGED].iloc[-1]
                    if len(rounds)
                    else math.nan
                    for cost, rounds in within.items()
                },
                **{
                    f"{cost}_to_target": reached[cost].iloc[0] if len(reached) else math.nan
                    for cost in budgets
                },
                **{
                    fault_text(fault): values.get(str(name), math.nan)
                    for fault, values in runs.lost.items()
                },
            }
        )
    return _means(pd.DataFrame(rows), list(comparison.settings))


def _means(rows: pd.DataFrame, settings: list[str]) -> pd.DataFrame:
    """Return the means over the seeds; runs of one seed are averaged first."""
    figures = [str(name) for name in rows if name not in (*settings, "seed")]
    seeds = rows.groupby([*settings, "seed"], dropna=False, sort=False)[figures].mean()
    groups = seeds.reset_index().groupby(settings, dropna=False, sort=False)
    table = groups[figures].mean().reset_index()
    table.insert(len(settings), "seeds", groups.size().to_numpy())
    table["reached"] = groups["reached"].sum().to_numpy().astype(int)
    costs = [name for name in figures if name.endswith("_to_target")]
    table[costs] = table[costs].where(table["reached"] == table["seeds"])
    return table.loc[setting_order(table, settings)].reset_index(drop=True)


def readable_protocols(runs: Disturbed, budgets: Mapping[str, float]) -> pd.DataFrame:
    """Return :func:`protocol_table` as text, with units."""
    comparison, table = runs.comparison, protocol_table(runs, budgets)
    measure, text = comparison.measure, pd.DataFrame(index=table.index)
    for key in comparison.settings:
        text[key] = [(label_of if key == "algorithm" else value_text)(v) for v in table[key]]
    percent = " (%)" if measure.in_percent else ""
    units = {
        cost: _unit(cost, max(budget, table[f"{cost}_to_target"].max()))
        for cost, budget in budgets.items()
    }
    for cost, budget in budgets.items():
        size, unit = units[cost]
        values = table[f"{measure.name}_at_{cost}"]
        heading = f"{measure.name} at {budget / size:.3g} {unit}{percent}"
        text[heading] = ["–" if math.isnan(value) else measure.number(value) for value in values]
    for cost in budgets:
        size, unit = units[cost]
        values = table[f"{cost}_to_target"] / size
        heading = f"{unit} to {comparison.target_text}"
        text[heading] = ["–" if math.isnan(value) else f"{value:.3g}" for value in values]
    for fault in runs.lost:
        heading = f"{'points' if measure.in_percent else measure.name} lost: {fault_text(fault)}"
        values = table[fault_text(fault)]
        text[heading] = ["–" if math.isnan(value) else measure.number(value) for value in values]
    return text


def _unit(cost: str, largest: float) -> tuple[float, str]:
    """Return the size of the shown unit, in the cost's, and its name."""
    if cost == "bytes":
        return float(MIB), "MiB"
    per, unit_of = (3600, time_unit) if cost == HOURS else (1000, energy_unit)
    size, name = unit_of(per * largest)
    return size / per, name


def format_protocols(
    runs: Disturbed, budgets: Mapping[str, float], how: TableFormat = "markdown"
) -> str:
    """Return the table as Markdown, LaTeX or, with unformatted numbers, CSV."""
    if how == "csv":
        return protocol_table(runs, budgets).to_csv(index=False)
    return formatted(readable_protocols(runs, budgets), len(runs.comparison.settings), how)
