"""Draw accuracy against communication, one point per algorithm and Dirichlet alpha."""

from typing import Any

import pandas as pd
from matplotlib.lines import Line2D

from ...line_style import LineStyle
from ..choices import BytesScale
from ..comparison import Comparison
from .panels import panels_of
from .positions import ALPHA, IID, positions_of
from .quantity import is_logarithmic, make_logarithmic, quantity_of
from .style import Picture, grid_of_axes, label_axes, legend_below, picture_style, styles


def best_points(comparison: Comparison) -> pd.DataFrame:
    """Return the best round of each run by its measure, and the bytes until then.

    Returns
    -------
    DataFrame
        ``run``, ``algorithm``, the measure's column, ``bytes``.
    """
    measure = comparison.measure
    runs = comparison.rounds.groupby("run", sort=False)[measure.column]
    best = runs.agg(measure.best_place)
    return comparison.rounds.loc[best, ["run", "algorithm", measure.column, "bytes"]]


def _point(tick: str, ticks: list[str], style: LineStyle) -> dict[str, Any]:
    """Return the style of a mark: a larger mark for a larger alpha, a hollow one for iid."""
    share = ticks.index(tick) / max(1, len(ticks) - 1)
    return {
        "linestyle": "",
        "marker": style.marker,
        "markersize": (0.7 + 1.1 * share) * style.size,
        "markeredgecolor": style.colour,
        "markerfacecolor": "white" if tick == IID else style.colour,
    }


def scatter_over_alpha(comparison: Comparison, scale: BytesScale = "auto") -> Picture:
    """Draw the best value against its communication, for every alpha.

    Raises
    ------
    NothingToDrawError
        The results have fewer than two alphas.
    """
    positions, measure = positions_of(comparison, ALPHA), comparison.measure
    better = "Up" if measure.higher_is_better else "Down"
    skew = {run: positions.text_of(run) for run in positions.places}
    ticks = list(positions.ticks.values())
    points = best_points(comparison)
    points = points[points["run"].isin(skew)]
    across = quantity_of("bytes", points["bytes"])
    panels = [p for p in panels_of(comparison, positions.along)
              if p.rounds["run"].isin(skew).any()]  # fmt: skip
    look = styles(points["algorithm"].tolist())
    with picture_style():
        figure, axes = grid_of_axes(len(panels), height=2.9)
        for panel, ax in zip(panels, axes, strict=True):
            in_panel = points[points["run"].isin(panel.rounds["run"])]
            for name, style in look.items():
                runs = in_panel[in_panel["algorithm"] == name]
                means = runs.groupby(runs["run"].map(skew))[["bytes", measure.column]].mean()
                means = means.reindex([tick for tick in ticks if tick in means.index])
                x, y = means["bytes"] / across.unit, measure.scale * means[measure.column]
                ax.plot(x, y, color=style.colour, linestyle=style.dashes, linewidth=0.5, alpha=0.6)
                for tick, place, height in zip(means.index, x, y, strict=True):
                    ax.plot([place], [height], **_point(tick, ticks, style))
            ax.margins(x=0.1, y=0.1)
            ax.set_title(panel.title)
        if is_logarithmic(across, points, scale):
            make_logarithmic(axes[0], "x")
        label_axes(axes, across.label, f"best test {measure.heading}")
        sizes = [
            Line2D([], [], **_point(tick, ticks, LineStyle("#555555", "o", "-")),
                   label=tick if tick == IID else f"α = {tick}")
            for tick in ticks
        ]  # fmt: skip
        axes[0].legend(handles=sizes, loc="best", fontsize=6.0, handletextpad=0.2)
        legend_below(figure, look)
    return Picture(
        name="scatter-alpha",
        title=f"{measure.name.capitalize()} against communication over Dirichlet α",
        caption=(
            f"Each point: the best test {measure.name}, and the communication of all clients "
            "until it was reached, means over the seeds. A larger mark means a larger α, a hollow "
            "mark iid. "
            "Lines join an algorithm's points in that order. "
            f"{better} and to the left is better."
        ),
        figure=figure,
    )
