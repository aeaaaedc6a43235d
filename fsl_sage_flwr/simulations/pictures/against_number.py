"""Final accuracy against a number: the alignment interval or the size of the auxiliary head."""

from collections.abc import Collection

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from ..comparison import Comparison, run_figures
from ..differences import is_missing
from ..load_results import HEAD_SIZE
from .against_alpha import spread_text
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
        comparison, "align-interval", ("align-interval",), "align-interval",
        "alignment interval l (rounds)", "Accuracy against alignment interval",
    )  # fmt: skip


def accuracy_against_head_size(comparison: Comparison) -> Picture:
    """Draw the final accuracy against the number of parameters of one auxiliary head.

    Raises
    ------
    NothingToDrawError
        The results have fewer than two head sizes, or are from a version that did not record
        sizes.
    """
    return _draw(
        comparison, HEAD_SIZE, ("auxiliary", "auxiliary-max-share"), "head-size",
        "parameters of one auxiliary head", "Accuracy against head size",
    )  # fmt: skip


def _draw(
    comparison: Comparison, column: str, along: Collection[str], name: str, label: str, title: str
) -> Picture:
    runs = comparison.rounds.drop_duplicates("run")
    # A size of 0 means that the run has no head, so it has no position on the axis.
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
    with picture_style():
        figure, axes = grid_of_axes(len(panels))
        for panel, ax in zip(panels, axes, strict=True):
            in_panel = figures[figures["run"].isin(panel.rounds["run"])]
            for algorithm, style in look.items():
                own = in_panel[in_panel["algorithm"] == algorithm]
                placed = own[own["run"].isin(numbers)]
                if len(placed):
                    values = placed.groupby(placed["run"].map(numbers))[f"final_{measure.name}"]
                    ax.errorbar(values.mean().index, measure.scale * values.mean(),
                                yerr=measure.scale * values.std().fillna(0.0), capsize=2.0,
                                elinewidth=0.8, **style.line())  # fmt: skip
                elif len(own):
                    line = {**style.line(), "marker": ""}
                    ax.axhline(
                        measure.scale * own[f"final_{measure.name}"].mean(), **line, alpha=0.8
                    )
            _axis(ax, ticks)
            ax.set_title(panel.title)
            ax.margins(x=0.08)
        label_axes(axes, label, f"final test {measure.heading}")
        shown = {key: style for key, style in look.items() if key in set(figures["algorithm"])}
        legend_below(figure, shown)
    return Picture(
        name=name,
        title=title,
        caption=(
            f"Test {measure.name} after the last round. {spread_text(figures)} Horizontal lines: "
            "algorithms that this does not affect."
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
