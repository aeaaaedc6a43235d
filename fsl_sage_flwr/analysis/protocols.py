"""Build one table by three protocols: quality under a budget, cost to a target, robustness.

They are those of EdgeFlowerTune (Geng et al., arXiv 2605.08636), without its costs of memory.
"""

import math
from collections.abc import Callable, Mapping

import pandas as pd

from ..units import MIB, energy_unit, time_unit
from .comparison import HOURS, JUDGED, KILOJOULES, Comparison
from .declared import label_of
from .labels import value_text
from .result_table import TableFormat, formatted, setting_order
from .robustness import Disturbed, fault_text
from .seed_table import by_seed, in_units_of, mean_text, over_all_seeds, seeds_that_reached
from .spread import SUFFIXES

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
        its words, the measure that it costs. ``FIGURE_std`` beside each is the sample standard
        deviation over the seeds, or ``FIGURE_ci95`` half of the mean's confidence interval; NaN for
        fewer than two seeds.
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
    runs_of_all = pd.DataFrame(rows)
    settings = list(comparison.settings)
    figures = [str(name) for name in runs_of_all if name not in (*settings, "seed", "reached")]
    seeds = by_seed(runs_of_all, settings, ["reached", *figures])
    table = over_all_seeds(seeds, settings, figures, comparison.spread)
    table.insert(len(settings) + 1, "reached", seeds_that_reached(seeds, settings))
    costs = [name for name in map(str, table) if "_to_target" in name]
    table[costs] = table[costs].where(table["reached"] == table["seeds"])
    return table.loc[setting_order(table, settings)].reset_index(drop=True)


def readable_protocols(runs: Disturbed, budgets: Mapping[str, float]) -> pd.DataFrame:
    """Return :func:`protocol_table` as text, with units."""
    comparison, table = runs.comparison, protocol_table(runs, budgets)
    measure, text = comparison.measure, pd.DataFrame(index=table.index)
    suffix = SUFFIXES[comparison.spread]

    def cells(figure: str, number: Callable[[float], str]) -> list[str]:
        pairs = zip(table[figure], table[f"{figure}_{suffix}"], strict=True)
        return [mean_text(mean, spread, number) for mean, spread in pairs]

    for key in comparison.settings:
        text[key] = [(label_of if key == "algorithm" else value_text)(v) for v in table[key]]
    percent = " (%)" if measure.in_percent else ""
    units = {
        cost: _unit(cost, max(budget, table[f"{cost}_to_target"].max()))
        for cost, budget in budgets.items()
    }
    for cost, budget in budgets.items():
        size, unit = units[cost]
        heading = f"{measure.name} at {budget / size:.3g} {unit}{percent}"
        text[heading] = cells(f"{measure.name}_at_{cost}", measure.number)
    for cost in budgets:
        size, unit = units[cost]
        heading = f"{unit} to {comparison.target_text}"
        text[heading] = cells(f"{cost}_to_target", in_units_of(size))
    for fault in runs.lost:
        heading = f"{'points' if measure.in_percent else measure.name} lost: {fault_text(fault)}"
        text[heading] = cells(fault_text(fault), measure.number)
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
