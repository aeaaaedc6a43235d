"""Draw accuracy at a communication budget against the Dirichlet alpha of the clients' labels."""

from collections.abc import Collection

import pandas as pd
from matplotlib.axes import Axes

from ...line_style import LineStyle
from ...units import mib
from ..choices import Spread
from ..comparison import Comparison, run_figures
from ..differences import is_missing
from ..labels import value_text
from ..spread import NAMES, over_seeds
from .panels import NothingToDrawError, panels_of
from .style import Picture, grid_of_axes, label_axes, legend_below, picture_style, styles

ALONG = ("distribution", "alpha", "shards-per-client")
IID = "iid"


def skew_of(comparison: Comparison) -> dict[str, str]:
    """Return each run's position on the axis, in order: its alpha as text, or ``iid``.

    Runs with other distributions are left out.

    Raises
    ------
    NothingToDrawError
        There are fewer than two different positions.
    """
    runs = comparison.rounds.drop_duplicates("run")
    dirichlet = runs[[not is_missing(alpha) for alpha in runs["alpha"]]]
    dirichlet = dirichlet.sort_values("alpha", key=lambda column: column.astype(float))
    positions = {str(row["run"]): value_text(row["alpha"]) for _, row in dirichlet.iterrows()}
    positions |= {str(run): IID for run in runs[runs["distribution"] == IID]["run"]}
    if len(set(positions.values())) < 2:
        found = ", ".join(dict.fromkeys(positions.values())) or "none"
        raise NothingToDrawError(f"no two Dirichlet alphas (or iid) in the results: {found}")
    return positions


def accuracy_against_alpha(comparison: Comparison) -> Picture:
    """Draw the accuracy at the budget against the heterogeneity of the clients.

    The ticks are evenly spaced, because alphas differ by orders of magnitude and iid has no alpha.
    Clients are more alike to the right.

    Raises
    ------
    NothingToDrawError
        The results have fewer than two alphas.
    """
    skew, measure = skew_of(comparison), comparison.measure
    unit = " (%)" if measure.in_percent else ""
    ticks = list(dict.fromkeys(skew.values()))
    figures = run_figures(comparison)
    figures = figures[figures["run"].isin(skew)]
    panels = [p for p in panels_of(comparison, ALONG) if p.rounds["run"].isin(skew).any()]
    look = styles(figures["algorithm"].tolist())
    column, seeds = f"{measure.name}_at_budget", set[int]()
    with picture_style():
        figure, axes = grid_of_axes(len(panels))
        for panel, ax in zip(panels, axes, strict=True):
            in_panel = figures[figures["run"].isin(panel.rounds["run"])]
            for name, style in look.items():
                runs = in_panel[in_panel["algorithm"] == name]
                placed = runs.assign(place=runs["run"].map(skew).map(ticks.index))
                values = over_seeds(placed, ["place"], column, comparison.spread)
                draw_points(ax, values[values["seeds"] > 0], measure.scale, style)
                seeds.update(values["seeds"])
            ax.set_xticks(range(len(ticks)), ticks)
            ax.set_xlim(-0.3, len(ticks) - 0.7)
            ax.set_title(panel.title)
        label_axes(axes, "Dirichlet α", f"{measure.name} at {mib(comparison.budget)} MiB{unit}")
        legend_below(figure, look, note=bars(seeds, comparison.spread))
    return Picture(
        name="accuracy-alpha",
        title=f"{measure.name.capitalize()} at a communication budget against Dirichlet α",
        caption=(
            f"Test {measure.name} after the last round whose communication is within "
            f"{mib(comparison.budget)} MiB (all clients). Small α: each client has few of the "
            f"labels. {spread_text(seeds, comparison.spread)}"
        ),
        figure=figure,
    )


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


def spread_text(seeds: Collection[int], spread: Spread) -> str:
    """Return the caption's sentence about the seeds."""
    if max(seeds, default=0) < 2:
        return "One seed."
    return f"Means over the seeds; bars: ± {NAMES[spread]}."
