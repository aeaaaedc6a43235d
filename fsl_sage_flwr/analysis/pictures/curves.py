"""Draw the measure of the runs, and the loss, against communication and against rounds."""

import math
from collections.abc import Iterable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ...line_style import LineStyle
from ...units import byte_unit
from ..choices import Spread
from ..comparison import Comparison, run_figures
from ..declared import label_of
from ..measure import LOSS, Measure
from ..spread import NAMES, over_seeds
from .panels import NothingToDrawError, Panel, panels_of
from .style import Picture, grid_of_axes, label_axes, legend_below, picture_style, styles

LOGARITHMIC_FROM = 15.0  # ratio of largest to smallest value for a logarithmic axis


def accuracy_against_communication(comparison: Comparison) -> Picture:
    """Draw the runs' measure over bytes, with the bytes at the target marked.

    Raises
    ------
    NothingToDrawError
        The measure is the loss.
    """
    return _draw(comparison, _beside_loss(comparison), "bytes")


def accuracy_against_rounds(comparison: Comparison) -> Picture:
    """Draw the runs' measure over rounds, with the round that reaches the target marked.

    Raises
    ------
    NothingToDrawError
        The measure is the loss.
    """
    return _draw(comparison, _beside_loss(comparison), "round")


def _beside_loss(comparison: Comparison) -> Measure:
    """Return the runs' measure, unless it is the loss, which has separate pictures.

    Raises
    ------
    NothingToDrawError
        The measure is the loss.
    """
    if comparison.measure == LOSS:
        raise NothingToDrawError("the runs have no accuracy; loss-… shows how they do")
    return comparison.measure


def loss_against_communication(comparison: Comparison) -> Picture:
    """Draw test loss over bytes."""
    return _draw(comparison, LOSS, "bytes")


def loss_against_rounds(comparison: Comparison) -> Picture:
    """Draw test loss over rounds."""
    return _draw(comparison, LOSS, "round")


def mean_curve(runs: pd.DataFrame, y: str, spread: Spread = "deviation") -> pd.DataFrame:
    """Return the mean curve of several runs, over the rounds of all of them.

    Returns
    -------
    DataFrame
        ``round``; ``bytes`` (mean); ``mean`` of ``y`` over the seeds; ``low`` and ``high``, the
        mean minus and plus the spread; ``seeds``, their number.
    """
    runs = runs[runs[y].notna()]
    by_round = runs.groupby("round")["run"].nunique()
    whole = by_round[by_round == runs["run"].nunique()].index
    values = over_seeds(runs, ["round"], y, spread)
    curve = pd.DataFrame(
        {
            "bytes": over_seeds(runs, ["round"], "bytes", spread)["mean"],
            "mean": values["mean"],
            "low": values["mean"] - values["spread"],
            "high": values["mean"] + values["spread"],
            "seeds": values["seeds"],
        }
    )
    return curve.loc[whole].reset_index()


def band(seeds: Iterable[int], spread: Spread) -> str:
    """Describe the bands of lines with these numbers of seeds; empty for one seed."""
    counts = sorted({int(count) for count in seeds if count > 1})
    if not counts:
        return ""
    number = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"bands: ± {NAMES[spread]}, {number} seeds"


def _draw(comparison: Comparison, measure: Measure, x: str) -> Picture:
    panels = panels_of(comparison)
    look = styles(comparison.rounds["algorithm"].tolist())
    judged, y = measure == comparison.measure, measure.column
    unit, unit_name = 1.0, ""
    if x == "bytes":
        unit, unit_name = byte_unit(float(comparison.rounds["bytes"].max()))
    figures = run_figures(comparison)
    seeds = set[int]()
    with picture_style():
        figure, axes = grid_of_axes(len(panels))
        for panel, ax in zip(panels, axes, strict=True):
            for name, runs in panel.by_algorithm(look):
                curve = mean_curve(runs, y, comparison.spread)
                seeds.update(curve["seeds"])
                draw_curve(ax, curve, x, unit, measure.scale, look[name])
            ax.set_title(panel.title)
        label_axes(
            axes,
            f"communication ({unit_name})" if x == "bytes" else "round",
            f"test {measure.heading}",
        )
        if x == "round":
            axes[0].xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        elif _spread(comparison.rounds.groupby("run")["bytes"].max()) > LOGARITHMIC_FROM:
            axes[0].set_xscale("log")
        else:
            axes[0].set_xlim(left=0)
        if not measure.in_percent and _spread(comparison.rounds[y]) > LOGARITHMIC_FROM:
            axes[0].set_yscale("log")
        axes[0].set_ylim(axes[0].get_ylim())  # fixed, because the marks' lines start at the axis
        for panel, ax in zip(panels, axes, strict=True):
            if judged:
                _mark(ax, comparison, panel, figures, x, unit, look)
        labels = {}
        if judged and len(panels) == 1:
            labels = _labels(figures, x, unit, unit_name)
        legend_below(figure, look, labels, band(seeds, comparison.spread))
    what, over = measure.name, ("rounds", "communication")[x == "bytes"]
    return Picture(
        name=f"{what}-{over}",
        title=f"Test {what} against {over}",
        caption=_caption(comparison, x, judged=judged),
        figure=figure,
    )


def draw_curve(
    ax: Axes, curve: pd.DataFrame, x: str, unit: float, scale: float, style: LineStyle
) -> None:
    """Draw a mean curve with its band; ``x`` is its column, in units of ``unit``."""
    across = curve[x].astype(float) / unit
    ax.plot(
        across, scale * curve["mean"], **style.line(), markevery=max(1, math.ceil(len(curve) / 8))
    )
    ax.plot(across[-1:], scale * curve["mean"][-1:], color=style.colour, marker="|", markersize=7)
    ax.fill_between(across, scale * curve["low"], scale * curve["high"], color=style.colour,
                    alpha=0.18, linewidth=0)  # fmt: skip


def _mark(
    ax: Axes, comparison: Comparison, panel: Panel, figures: pd.DataFrame, x: str, unit: float,
    look: dict[str, LineStyle],
) -> None:  # fmt: skip
    column = "bytes_to_target" if x == "bytes" else "rounds_to_target"
    height = comparison.measure.scale * comparison.target
    ax.axhline(height, color="#555555", linewidth=0.7, linestyle=(0, (1.0, 2.0)), zorder=1)
    in_panel = figures[figures["run"].isin(panel.rounds["run"])]
    for name, runs in in_panel.groupby("algorithm", sort=False):
        reached = runs[column].dropna()
        if reached.empty:
            continue
        style, cost = look[str(name)], float(reached.mean()) / unit
        bottom, everyone = ax.get_ylim()[0], len(reached) == len(runs)
        ax.plot([cost, cost], [bottom, height], color=style.colour, linewidth=0.7, zorder=1.5,
                linestyle="-" if everyone else (0, (4.0, 3.0)))  # fmt: skip
        if not everyone:
            # At the bottom, where there is no other mark.
            ax.annotate(f"{len(reached)}/{len(runs)}", (cost, bottom), xytext=(-2, 3),
                        textcoords="offset points", ha="right", fontsize=6.0, color=style.colour,
                        zorder=4)  # fmt: skip
        ax.plot([cost], [height], marker=style.marker, markersize=1.4 * style.size,
                markerfacecolor="white", markeredgecolor=style.colour, markeredgewidth=1.0,
                zorder=3)  # fmt: skip


def _labels(figures: pd.DataFrame, x: str, unit: float, unit_name: str) -> dict[str, str]:
    column = "bytes_to_target" if x == "bytes" else "rounds_to_target"
    labels = {}
    for name, runs in figures.groupby("algorithm", sort=False):
        mean = float(runs[column].mean()) / unit
        cost = f"{mean:.3g}" if mean < 1000 else f"{mean:,.0f}"
        cost = "–" if math.isnan(mean) else f"{cost} {unit_name or 'rounds'}"
        if 0 < (reached := runs[column].count()) < len(runs):
            cost += f" ({reached} of {len(runs)})"
        labels[str(name)] = f"{label_of(str(name))}: {cost}"
    return labels


def _caption(comparison: Comparison, x: str, *, judged: bool) -> str:
    seeds = comparison.rounds["seed"].nunique()
    parts = ["Test split, after each round; a bar marks where the runs were stopped."]
    if seeds > 1:
        parts.append(f"Lines: means over the seeds; bands: ± {NAMES[comparison.spread]}.")
    if x == "bytes":
        measured = comparison.count == "measured"
        how = "contents of all messages" if measured else "published figures' count"
        parts.append(f"Communication: bytes of all clients, both ways, since the start ({how}).")
    if judged:
        cost = "communication" if x == "bytes" else "rounds"
        parts.append(
            f"Hollow marks: {cost} to {comparison.target_text} (dotted), mean over the seeds that "
            "reach it; the same in the legend where there is one panel. Where not all seeds do, "
            "the line is broken and a fraction says how many."
        )
    return " ".join(parts)


def _spread(values: "pd.Series[float]") -> float:
    positive = values[values > 0]
    return float(positive.max() / positive.min()) if len(positive) else 1.0
