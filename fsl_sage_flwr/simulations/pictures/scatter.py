"""Accuracy against communication, a point per algorithm and Dirichlet alpha."""

import pandas as pd

from ..comparison import Comparison
from .against_alpha import ALONG, IID, skew_of
from .panels import panels_of
from .style import Picture, byte_unit, grid_of_axes, legend_below, picture_style, styles


def best_points(comparison: Comparison) -> pd.DataFrame:
    """Return each run's best test accuracy, and the bytes when it was first reached.

    Returns
    -------
    DataFrame
        ``run``, ``algorithm``, ``test_accuracy``, ``bytes``.
    """
    best = comparison.rounds.groupby("run", sort=False)["test_accuracy"].idxmax()
    return comparison.rounds.loc[best, ["run", "algorithm", "test_accuracy", "bytes"]]


def scatter_over_alpha(comparison: Comparison) -> Picture:
    """Draw the best accuracy over the communication that it took, for every alpha.

    Raises
    ------
    NothingToDrawError
        The results have no two alphas.
    """
    skew = skew_of(comparison)
    ticks = list(dict.fromkeys(skew.values()))
    points = best_points(comparison)
    points = points[points["run"].isin(skew)]
    unit, unit_name = byte_unit(float(points["bytes"].max()))
    panels = [p for p in panels_of(comparison, ALONG) if p.rounds["run"].isin(skew).any()]
    look = styles(points["algorithm"].tolist())
    with picture_style():
        figure, axes = grid_of_axes(len(panels), height=2.9)
        for panel, ax in zip(panels, axes, strict=True):
            here = points[points["run"].isin(panel.rounds["run"])]
            for name, style in look.items():
                runs = here[here["algorithm"] == name]
                means = runs.groupby(runs["run"].map(skew))[["bytes", "test_accuracy"]].mean()
                means = means.reindex([tick for tick in ticks if tick in means.index])
                x, y = means["bytes"] / unit, 100 * means["test_accuracy"]
                ax.plot(x, y, **{**style.line(), "linewidth": 0.6}, markersize=6.0)
                for tick, across, up in zip(means.index, x, y, strict=True):
                    text = tick if tick == IID else f"α={tick}"
                    ax.annotate(text, (across, up), xytext=(4, 3), textcoords="offset points",
                                fontsize=6.0, color=style.colour)  # fmt: skip
            ax.margins(x=0.12, y=0.1)
            ax.set_xlabel(f"communication ({unit_name})")
            ax.set_ylabel("best test accuracy (%)")
            ax.set_title(panel.title)
        legend_below(figure, look)
    return Picture(
        name="scatter-alpha",
        title="Accuracy against communication over Dirichlet α",
        caption=(
            "Each point: the best test accuracy, and the communication of all clients until it "
            "was reached, means over the seeds; lines join an algorithm's points in order of α. "
            "Up and to the left is better."
        ),
        figure=figure,
    )
