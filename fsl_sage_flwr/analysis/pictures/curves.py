"""Draw a column of the history against rounds, bytes or seconds, one curve per algorithm."""

import math
from collections.abc import Iterable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ...line_style import LineStyle
from ..choices import BytesScale, Spread
from ..comparison import HOURS, KILOJOULES, Comparison
from ..spread import NAMES, over_seeds
from .panels import panels_of
from .quantity import MEANINGS, Quantity, is_logarithmic, make_logarithmic, quantity_of
from .style import Picture, grid_of_axes, label_axes, legend_below, picture_style, styles
from .target_marks import COSTS, cost_labels, mark_target

# Horizontal axes by name, with their columns.
ALONG_ROUNDS = {
    "round": "round",
    "bytes": "bytes",
    "seconds": "elapsed",
    "hours": HOURS,
    "joules": KILOJOULES,
}
_OVER = {
    "round": "rounds",
    "bytes": "communication",
    "seconds": "time",
    "hours": "time on the virtual clock",
    "joules": "energy of the clients",
}
_LOGARITHMIC_FROM = 15.0  # ratio of largest to smallest loss or perplexity
_FITS = 34  # characters of a title above one of three panels


def curves(comparison: Comparison, x: str, y: str, scale: BytesScale = "auto") -> Picture:
    """Draw column ``y`` of the history against ``x``, a name in :data:`ALONG_ROUNDS`.

    If ``y`` is the measure of the comparison, the cost of each panel's target is marked.
    """
    rounds = comparison.rounds[comparison.rounds[y].notna()]
    panels = [p for p in panels_of(comparison) if p.rounds["run"].isin(rounds["run"]).any()]
    look = styles(rounds["algorithm"].tolist())
    across = quantity_of(ALONG_ROUNDS[x], rounds[ALONG_ROUNDS[x]])
    up = quantity_of(y, rounds[y])
    # The seconds of the run's machine are no cost of a target.
    marked = y == comparison.measure.column and x in COSTS
    seeds, labels = set[int](), dict[str, str]()
    with picture_style():
        figure, axes = grid_of_axes(len(panels))
        for panel, ax in zip(panels, axes, strict=True):
            for name, runs in panel.lines(look):
                if runs[y].notna().any():
                    curve = mean_curve(runs, across.column, y, comparison.spread)
                    seeds.update(curve["seeds"])
                    draw_curve(ax, curve, across.unit, 1 / up.unit, look[name])
            ax.set_title(panel.title)
        label_axes(axes, across.label, up.label)
        _scale_axes(axes, rounds, across, up, scale)
        if marked:
            for panel, ax in zip(panels, axes, strict=True):
                own = comparison.within(panel.rounds)
                mark_target(ax, own, panel, x, across.unit, look)
                ax.set_title(_title(panel.title, own))
            if len(panels) == 1:
                labels = cost_labels(comparison, panels[0], x, across, look)
        legend_below(figure, look, labels, band(seeds, comparison.spread))
    what = up.label.removesuffix(" (%)") if up.is_share else y.replace("_", " ")
    return Picture(
        name=f"{y}-{x}",
        title=f"{what[0].upper()}{what[1:]} against {_OVER[x]}",
        caption=_caption(comparison, x, y, marked=marked, several=max(seeds, default=0) > 1),
        figure=figure,
    )


def mean_curve(runs: pd.DataFrame, x: str, y: str, spread: Spread = "deviation") -> pd.DataFrame:
    """Return the mean curve of several runs, over the rounds of all of them.

    Returns
    -------
    DataFrame
        ``round``; ``across`` (mean of ``x``); ``mean`` of ``y`` over the seeds; ``low`` and
        ``high``, the mean minus and plus the spread; ``seeds``, their number.
    """
    runs = runs[runs[y].notna()]
    by_round = runs.groupby("round")["run"].nunique()
    whole = by_round[by_round == runs["run"].nunique()].index
    values = over_seeds(runs, ["round"], y, spread)
    along = (
        values.index.to_series() if x == "round" else over_seeds(runs, ["round"], x, spread)["mean"]
    )
    curve = pd.DataFrame(
        {
            "across": along,
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


def draw_curve(ax: Axes, curve: pd.DataFrame, unit: float, scale: float, style: LineStyle) -> None:
    """Draw a mean curve with its band, a bar at its end; ``across`` is in units of ``unit``."""
    across = curve["across"].astype(float) / unit
    up, low, high = (scale * curve[name].astype(float) for name in ("mean", "low", "high"))
    ax.plot(across, up, **style.line(), markevery=max(1, math.ceil(len(curve) / 8)))
    ax.plot(across[-1:], up[-1:], color=style.colour, marker="|", markersize=7)
    ax.fill_between(across, low, high, color=style.colour, alpha=0.18, linewidth=0)


def _title(settings: str, comparison: Comparison) -> str:
    """Return a panel's title with its target, on two lines if they do not fit beside others."""
    if not settings:
        return f"target {comparison.target_text}"
    target = f"target {comparison.measure.text(comparison.target)}"
    separator = ": " if len(settings + target) <= _FITS else "\n"
    return f"{settings}{separator}{target}"


def _scale_axes(
    axes: list[Axes], rounds: pd.DataFrame, across: Quantity, up: Quantity, scale: BytesScale
) -> None:
    """Set the scales and limits of all panels, which share their axes."""
    first, last = axes[0], rounds.groupby("run").tail(1)
    if across.column == "round":
        first.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    elif is_logarithmic(across, last, scale):
        make_logarithmic(first, "x")
    else:
        first.set_xlim(left=0)
    values = rounds[up.column].astype(float)
    values = values[values > 0]
    wide = up.column.endswith(("loss", "perplexity")) and len(values)
    if is_logarithmic(up, last, scale) or (
        wide and values.max() / values.min() > _LOGARITHMIC_FROM
    ):
        make_logarithmic(first, "y")
    elif up.column.endswith("cosine"):
        first.set_ylim(min(0.0, first.get_ylim()[0]), 1.0)
    elif up.is_bytes:
        first.set_ylim(bottom=0.0)
    first.set_ylim(first.get_ylim())  # fixed, because the marks' lines start at the axis


def _caption(comparison: Comparison, x: str, y: str, *, marked: bool, several: bool) -> str:
    parts = [MEANINGS[y]] if y in MEANINGS else []
    split = "Test split, after" if y.startswith("test_") else "After"
    parts.append(f"{split} each round; a bar marks where the runs were stopped.")
    if several:
        parts.append(f"Lines: means over the seeds; bands: ± {NAMES[comparison.spread]}.")
    if x == "bytes":
        measured = comparison.count == "measured"
        how = "contents of all messages" if measured else "published figures' count"
        parts.append(f"Communication: bytes of all clients, both ways, since the start ({how}).")
    if x in ("hours", "joules"):
        parts.append("By the virtual clock, on the devices and links of the runs' settings.")
    if marked:
        cost = _OVER[x]
        mean = f", mean of {comparison.mean_of} rounds" if comparison.mean_of > 1 else ""
        parts.append(
            f"Hollow marks: {cost} to the panel's target (dotted{mean}), mean over the seeds that "
            "reach it; the same in the legend where there is one panel. Where not all seeds do, "
            "the line is broken, with the fraction that do."
        )
    return " ".join(parts)
