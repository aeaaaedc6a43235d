"""Mark the cost of a panel's target on its curves and in the legend."""

import math
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes

from ...line_style import LineStyle
from ..comparison import HOURS, KILOJOULES, Comparison, run_figures
from ..declared import label_of
from .panels import Panel
from .quantity import Quantity

# Figures of a run by the horizontal axis.
COSTS = {
    "round": "rounds_to_target",
    "bytes": "bytes_to_target",
    "hours": f"{HOURS}_to_target",
    "joules": f"{KILOJOULES}_to_target",
}


def mark_target(
    ax: Axes, comparison: Comparison, panel: Panel, x: str, unit: float,
    look: Mapping[str, LineStyle],
) -> None:  # fmt: skip
    """Draw the target as a dotted line, and each line's mean cost as a hollow mark on it.

    Parameters
    ----------
    ax : Axes
        Axes of the panel, with fixed vertical limits.
    comparison : Comparison
        The comparison of the panel's runs, with its target.
    panel : Panel
        The panel.
    x : str
        Horizontal axis, a name in :data:`COSTS`.
    unit : float
        Size of the axis' unit.
    look : Mapping
        Styles by algorithm.
    """
    height = comparison.measure.scale * comparison.target
    ax.axhline(height, color="#555555", linewidth=0.7, linestyle=(0, (1.0, 2.0)), zorder=1)
    figures = run_figures(comparison)
    for name, runs in panel.lines(look):
        cost_of_runs = _costs(figures, runs, x)
        reached = cost_of_runs.dropna()
        if reached.empty:
            continue
        style, cost = look[name], float(reached.mean()) / unit
        bottom, everyone = ax.get_ylim()[0], len(reached) == len(cost_of_runs)
        ax.plot([cost, cost], [bottom, height], color=style.colour, linewidth=0.7, zorder=1.5,
                linestyle="-" if everyone else (0, (4.0, 3.0)))  # fmt: skip
        if not everyone:
            # At the bottom, where there is no other mark.
            ax.annotate(f"{len(reached)}/{len(cost_of_runs)}", (cost, bottom), xytext=(-2, 3),
                        textcoords="offset points", ha="right", fontsize=6.0, color=style.colour,
                        zorder=4)  # fmt: skip
        ax.plot([cost], [height], marker=style.marker, markersize=1.4 * style.size,
                markerfacecolor="white", markeredgecolor=style.colour, markeredgewidth=1.0,
                zorder=3)  # fmt: skip


def cost_labels(
    comparison: Comparison, panel: Panel, x: str, across: Quantity, look: Mapping[str, LineStyle]
) -> dict[str, str]:
    """Return legend texts by algorithm, with the cost of the target of each of its lines."""
    figures = run_figures(comparison)
    unit = "rounds" if x == "round" else across.label.rpartition("(")[2].removesuffix(")")
    costs: dict[str, list[str]] = {}
    for name, runs in panel.lines(look):
        values = _costs(figures, runs, x)
        mean = float(values.mean()) / across.unit
        text = f"{mean:.3g}" if mean < 1000 else f"{mean:,.0f}"
        text = "–" if math.isnan(mean) else text
        if 0 < (reached := values.count()) < len(values):
            text += f" ({reached} of {len(values)})"
        costs.setdefault(name, []).append(text)
    return {name: f"{label_of(name)}: {_joined(texts, unit)}" for name, texts in costs.items()}


def _joined(texts: list[str], unit: str) -> str:
    """Return the costs of an algorithm's lines with their unit: ``2.5 / 3 MiB``, ``–``."""
    different = list(dict.fromkeys(texts))
    if different == ["–"]:
        return "–"
    # The unit precedes the number of seeds of a single cost: 3 rounds (1 of 3).
    first, space, rest = different[0].partition(" ")
    if len(different) == 1:
        return f"{first} {unit}{space}{rest}"
    return f"{' / '.join(different)} {unit}"


def _costs(figures: pd.DataFrame, runs: pd.DataFrame, x: str) -> "pd.Series[float]":
    return figures[figures["run"].isin(runs["run"])][COSTS[x]].astype(float)
