"""Draw final accuracy against the alignment interval or the size of the auxiliary head."""

from collections.abc import Collection

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from ..comparison import Comparison, run_figures
from ..differences import is_missing
from ..load_results import HEAD_SIZE
from ..spread import over_seeds
from .against_alpha import bars, draw_points, spread_text
from .panels import NothingToDrawError, panels_of
from .style import Picture, grid_of_axes, label_axes, legend_below, picture_style, styles


def accuracy_against_align_interval(comparison: Comparison) -> Picture:
    """Draw the final accuracy against l, the number of rounds between two alignments.

    Raises
    ------
    NothingToDrawError
        The results have fewer than two alignment intervals.
    """
    return _draw(
        comparison, "align.interval", ("align.interval",), "align-interval",
        "alignment interval l (rounds)", "Accuracy against alignment interval",
    )  # fmt: skip


def accuracy_against_head_size(comparison: Comparison) -> Picture:
    """Draw the final accuracy against the number of parameters of one auxiliary head.

    Raises
    ------
    NothingToDrawError
        The results have fewer than two head sizes, or an earlier version did not record them.
    """
    return _draw(
        comparison, HEAD_SIZE, ("auxiliary.head", "auxiliary.max-share"), "head-size",
        "parameters of one auxiliary head", "Accuracy against head size",
    )  # fmt: skip


def _draw(
    comparison: Comparison, column: str, along: Collection[str], name: str, label: str, title: str
) -> Picture:
    runs = comparison.rounds.drop_duplicates("run")
    # Size 0 means no head, and has no position on the axis.
    numbers = {
        str(run): float(value)
        for run, value in zip(runs["run"], runs[column], strict=True)
        if not is_missing(value) and float(value) > 0
    }
    ticks = sorted(set(numbers.values()))
    if len(ticks) < 2:
        found = f"{ticks[0]:,.0f}" if ticks else "none"
        raise NothingToDrawError(f"no two values of {column} in the results: {found}")
    figures, measure = run_figures(comparison), comparison.measure
    panels = [p for p in panels_of(comparison, along) if p.rounds["run"].isin(numbers).any()]
    look = styles(figures["algorithm"].tolist())
    figure_name, seeds = f"final_{measure.name}", set[int]()
    with picture_style():
        figure, axes = grid_of_axes(len(panels))
        for panel, ax in zip(panels, axes, strict=True):
            in_panel = figures[figures["run"].isin(panel.rounds["run"])]
            for algorithm, style in look.items():
                own = in_panel[in_panel["algorithm"] == algorithm]
                placed = own[own["run"].isin(numbers)]
                if len(placed):
                    placed = placed.assign(place=placed["run"].map(numbers))
                    values = over_seeds(placed, ["place"], figure_name, comparison.spread)
                    draw_points(ax, values, measure.scale, style)
                    seeds.update(values["seeds"])
                elif len(own):
                    line = {**style.line(), "marker": ""}
                    mean = over_seeds(own, ["algorithm"], figure_name, comparison.spread)["mean"]
                    ax.axhline(measure.scale * mean.iloc[0], **line, alpha=0.8)
            _axis(ax, ticks)
            ax.set_title(panel.title)
            ax.margins(x=0.08)
        label_axes(axes, label, f"final test {measure.heading}")
        shown = {key: style for key, style in look.items() if key in set(figures["algorithm"])}
        legend_below(figure, shown, note=bars(seeds, comparison.spread))
    return Picture(
        name=name,
        title=title,
        caption=(
            f"Test {measure.name} after the last round. "
            f"{spread_text(seeds, comparison.spread)} Horizontal lines: algorithms that this does "
            "not affect."
        ),
        figure=figure,
    )


def _axis(ax: Axes, ticks: list[float]) -> None:
    if ticks[-1] / ticks[0] > 5:
        ax.set_xscale("log")
    if len(ticks) <= 8:
        ax.set_xticks(ticks, [_short(tick) for tick in ticks])
        ax.xaxis.set_minor_locator(NullLocator())


def _short(number: float) -> str:
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{suffix}"
    return f"{number:g}"
