"""Draw the cosine of estimated and true gradients over the rounds."""

from matplotlib.ticker import MaxNLocator

from ..comparison import Comparison
from .curves import band, draw_curve, mean_curve
from .panels import NothingToDrawError, panels_of
from .style import Picture, grid_of_axes, label_axes, legend_below, picture_style, styles

COSINE = "alignment_cosine"


def alignment_against_rounds(comparison: Comparison) -> Picture:
    """Draw the cosine between estimated and true gradients over the rounds with an alignment.

    Raises
    ------
    NothingToDrawError
        No run has an alignment.
    """
    rounds = comparison.rounds
    aligned = rounds[rounds[COSINE].notna()] if COSINE in rounds else rounds.iloc[:0]
    if aligned.empty:
        raise NothingToDrawError("no run has an alignment_cosine")
    look = styles(aligned["algorithm"].tolist())
    panels = [p for p in panels_of(comparison) if p.rounds["run"].isin(aligned["run"]).any()]
    seeds = set[int]()
    with picture_style():
        figure, axes = grid_of_axes(len(panels))
        for panel, ax in zip(panels, axes, strict=True):
            for name, runs in panel.by_algorithm(look):
                curve = mean_curve(runs, COSINE, comparison.spread)
                seeds.update(curve["seeds"])
                draw_curve(ax, curve, "round", 1.0, 1.0, look[name])
            ax.set_title(panel.title)
        axes[0].xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes[0].set_ylim(min(0.0, axes[0].get_ylim()[0]), 1.0)
        label_axes(axes, "round", "alignment cosine")
        legend_below(figure, look, note=band(seeds, comparison.spread))
    return Picture(
        name="alignment-rounds",
        title="Alignment of the auxiliary heads",
        caption=(
            "Cosine between the gradients that the auxiliary heads estimate and the true ones of "
            "the server half, over the newest held-out samples, after each "
            "alignment: 1 is the same direction, 0 none. Mean over the seeds, if there are several."
        ),
        figure=figure,
    )
