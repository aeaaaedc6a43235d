"""Draw the time to a target against bandwidth and against latency, with the crossings."""

from collections.abc import Sequence

from ...clock.fleet import Fleet
from ..comparison import Comparison
from ..declared import label_of
from ..run_time import PlannedRun, check_flops
from ..run_title import run_title
from ..time_sweep import UNITS, Axis, TimeSweep, time_sweep
from .panels import NothingToDrawError, panels_of
from .quantity import make_logarithmic
from .style import (
    Picture,
    add_title,
    grid_of_axes,
    label_axes,
    legend_below,
    picture_style,
    styles,
)

_LABELS = {
    "bandwidth": f"bandwidth of each link, both directions ({UNITS['bandwidth']})",
    "latency": f"round trip of an empty message ({UNITS['latency']})",
}


_DOTTED = (0, (1.0, 2.0))


def time_picture(
    comparison: Comparison, runs: Sequence[PlannedRun], fleet: Fleet, axis: Axis
) -> tuple[Picture, list[str]]:
    """Draw the hours to the target along an axis; return also a line per panel on the crossings.

    Raises
    ------
    NothingToDrawError
        No algorithm reaches the target with all its runs.
    ResultsError
        A device's speed is in FLOP/s, and a run recorded no FLOPs.
    """
    check_flops(runs, fleet)
    panels = panels_of(comparison)
    sweeps = [
        time_sweep([run for run in runs if run.run in set(panel.rounds["run"])], fleet, axis)
        for panel in panels
    ]
    drawn = [name for sweep in sweeps for name in sweep.hours.columns]
    if not drawn:
        raise NothingToDrawError(
            f"time against {axis}: no algorithm reaches {comparison.target_text} with all its "
            "runs; give a lower --target"
        )
    look = styles(drawn)
    with picture_style():
        figure, axes = grid_of_axes(len(panels))
        for panel, sweep, ax in zip(panels, sweeps, axes, strict=True):
            for name in sweep.hours:
                style = look[str(name)]
                ax.plot(sweep.hours.index, sweep.hours[name], **style.line(), markevery=5)
            for crossing in sweep.crossings:
                ax.axvline(
                    crossing.place, color="#555555", linewidth=0.7, linestyle=(0, (1.0, 2.0))
                )
                ax.annotate(
                    crossing.place_text, (crossing.place, 1.0), xytext=(1, -1), rotation=90,
                    xycoords=("data", "axes fraction"), textcoords="offset points", va="top",
                    fontsize=6.0,
                )  # fmt: skip
            ax.set_title(panel.title)
        make_logarithmic(axes[0], "x")
        make_logarithmic(axes[0], "y")
        label_axes(axes, _LABELS[axis], f"hours to {comparison.target_text}")
        legend_below(figure, look)
        add_title(figure, run_title(comparison))
    texts = [_text(panel.title, sweep) for panel, sweep in zip(panels, sweeps, strict=True)]
    picture = Picture(
        name=f"time-{axis}",
        title=f"Time to the target against {axis}",
        caption=(
            f"Hours on the virtual clock until the test {comparison.measure.name} reaches "
            f"{comparison.target_text}, means over the seeds; devices and the rest of the links "
            "as given. Dotted lines: another algorithm becomes the fastest. "
            f"{'; '.join(texts)}."
        ),
        figure=figure,
    )
    return picture, texts


def _text(title: str, sweep: TimeSweep) -> str:
    text = f"{title}: {sweep.describe()}" if title else sweep.describe()
    if sweep.unreached:
        names = ", ".join(label_of(name) for name in sweep.unreached)
        text += f" (not drawn, as they do not reach the target: {names})"
    return text
