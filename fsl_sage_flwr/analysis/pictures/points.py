"""Draw a figure of the runs against the value of a setting, with error bars over the seeds."""

from collections.abc import Collection

import pandas as pd
from matplotlib.axes import Axes

from ...line_style import LineStyle
from ..choices import BytesScale, Spread
from ..comparison import Comparison, run_figures
from ..result_table import columns_of
from ..spread import NAMES, over_seeds
from .panels import panels_of
from .positions import ALPHA, positions_of
from .quantity import Quantity, is_logarithmic, make_logarithmic, quantity_of
from .style import Picture, grid_of_axes, label_axes, legend_below, picture_style, styles


def points(comparison: Comparison, key: str, y: str, scale: BytesScale = "auto") -> Picture:
    """Draw ``y`` against the setting ``key``, one line per algorithm.

    Parameters
    ----------
    comparison : Comparison
        The runs.
    key : str
        Key of the run configuration, ``num-supernodes`` or ``auxiliary_parameters``.
    y : str
        Figure of the table of results, or a column of the history, taken after the last round.
    scale : {"auto", "linear", "log"}
        Scale of an axis of bytes.

    Raises
    ------
    NothingToDrawError
        The setting has fewer than two values.
    """
    positions = positions_of(comparison, key)
    values = figures_with(comparison, y)
    # Without an alpha labels are divided in another way, which has no place here.
    values = values[values["run"].isin(positions.places)] if key == ALPHA else values
    panels = [p for p in panels_of(comparison, positions.along)
              if p.rounds["run"].isin(positions.places).any()]  # fmt: skip
    look = styles(values["algorithm"].tolist())
    up, seeds, has_line = _quantity(comparison, y, values[y]), set[int](), False
    with picture_style():
        figure, axes = grid_of_axes(len(panels))
        for panel, ax in zip(panels, axes, strict=True):
            for name, runs in panel.lines(look):
                own = values[values["run"].isin(runs["run"])]
                placed = own[own["run"].isin(positions.places)]
                if len(placed):
                    placed = placed.assign(place=placed["run"].map(positions.places))
                    means = over_seeds(placed, ["place"], y, comparison.spread)
                    draw_points(ax, means[means["seeds"] > 0], 1 / up.unit, look[name])
                    seeds.update(means["seeds"])
                elif len(own):
                    mean = over_seeds(own, ["algorithm"], y, comparison.spread)["mean"].iloc[0]
                    ax.axhline(mean / up.unit, **{**look[name].line(), "marker": ""}, alpha=0.8)
                    has_line = True
            ax.set_title(panel.title)
        positions.set_axis(axes[0])
        if is_logarithmic(up, values, scale):
            make_logarithmic(axes[0], "y")
        label_axes(axes, positions.label, up.label)
        legend_below(figure, look, note=bars(seeds, comparison.spread))
    what = up.label.removesuffix(" (%)")
    return Picture(
        name=f"{y}-{key}",
        title=f"{what[0].upper()}{what[1:]} against {positions.label}",
        caption=" ".join(_caption(comparison, y, key, seeds, has_line=has_line)),
        figure=figure,
    )


def figures_with(comparison: Comparison, y: str) -> pd.DataFrame:
    """Return the figures of the runs, with the last value of ``y`` if it is none of them."""
    figures = run_figures(comparison)
    if y in figures:
        return figures
    last = comparison.rounds.groupby("run", sort=False).tail(1).set_index("run")
    return figures.assign(**{y: figures["run"].map(last[y].astype(float))})


def draw_points(ax: Axes, values: pd.DataFrame, scale: float, style: LineStyle) -> None:
    """Draw means over seeds with error bars, joined by a line; the index is the position."""
    ax.errorbar(
        values.index, scale * values["mean"], yerr=scale * values["spread"], capsize=2.0,
        elinewidth=0.8, **style.line(),
    )  # fmt: skip


def bars(seeds: Collection[int], spread: Spread) -> str:
    """Describe the error bars over the seeds; empty for one seed."""
    most = max(seeds, default=0)
    return f"bars: ± {NAMES[spread]}, {int(most)} seeds" if most > 1 else ""


def _quantity(comparison: Comparison, y: str, values: "pd.Series[float]") -> Quantity:
    for column in columns_of(comparison):
        if column.figure == y:
            return Quantity(y, column.heading, column.unit, is_bytes=y.startswith("bytes"))
    return quantity_of(y, values)


def _caption(
    comparison: Comparison, y: str, key: str, seeds: Collection[int], *, has_line: bool
) -> list[str]:
    measure = comparison.measure
    parts = ["After the last round."]
    if y == f"{measure.name}_at_budget":
        parts = [f"Test {measure.name} after the last round whose communication is within the "
                 "budget (all clients)."]  # fmt: skip
    elif y.endswith("_to_target"):
        parts = [f"Until the test {measure.name} is {comparison.target_text}."]
    elif y.startswith("best_"):
        parts = [f"Best test {measure.name} of all rounds."]
    elif y in (f"final_{measure.name}",):
        parts = [f"Test {measure.name} after the last round."]
    elif y in ("bytes", "rounds", "seconds"):
        parts = ["Of the whole run."]
    if key == ALPHA:
        parts.append("Small α: each client has few of the labels.")
    several = max(seeds, default=0) > 1
    parts.append(f"Means over the seeds; bars: ± {NAMES[comparison.spread]}." if several
                 else "One seed.")  # fmt: skip
    if has_line:
        parts.append("Horizontal lines: algorithms that this does not affect.")
    return parts
