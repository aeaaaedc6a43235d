"""Draw computation and communication time at a given bandwidth as stacked bars."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ..comparison import JUDGED, Comparison
from ..declared import label_of
from ..labels import place, settings_text, value_place
from .style import COLUMN, PAGE, Picture, picture_style

PARTS = ("clients", "server", "alignment", "communication")
LONGEST_LABEL = 28  # characters; longer labels leave too little room for bars in one column

# From light to dark, for four tones in a grey copy; the hatches also distinguish the parts.
_LOOK = {
    "clients": ("#56B4E9", ""),
    "server": ("#E69F00", "///"),
    "alignment": ("#009E73", "..."),
    "communication": ("#4D4D4D", ""),
}


def time_parts(comparison: Comparison, bandwidth: float) -> pd.DataFrame:
    """Return each run's seconds of computation and communication until the target.

    Clients work in parallel, each with a separate link. Clients, server, alignment and messages
    follow one another. The seconds of a round are

    - ``clients``: ``client_step_seconds / clients``, forward and backward passes of one client;
    - ``server``: ``server_seconds``, steps of the server half (alignment is not in it);
    - ``alignment``: ``alignment_seconds``;
    - ``communication``: ``8 · bytes / (clients · bandwidth · 10⁶)``, both directions.

    They are summed up to the first round that reaches the target, or over all rounds if none does.
    Starting processes, serialization and evaluation are not included.

    Parameters
    ----------
    comparison : Comparison
        The runs.
    bandwidth : float
        Bandwidth of a client's link, Mbit/s.

    Returns
    -------
    DataFrame
        The settings, ``run``, ``reached`` and the four parts.
    """
    rows = []
    for name, run in comparison.rounds.groupby("run", sort=False):
        reached = comparison.measure.reached(run[JUDGED], comparison.target)
        traffic = run["bytes"].diff().fillna(run["bytes"])
        clients = run["clients"].astype(float).clip(lower=1.0)
        parts = pd.DataFrame(
            {
                "clients": run["client_step_seconds"] / clients,
                "server": run["server_seconds"],
                "alignment": run["alignment_seconds"],
                "communication": 8 * traffic / (clients * bandwidth * 1e6),
            }
        ).fillna(0.0)
        if reached.any():
            parts = parts.loc[: reached.idxmax()]
        first = run.iloc[0]
        rows.append(
            {
                **{key: first[key] for key in comparison.settings},
                "run": name,
                "reached": bool(reached.any()),
                **{part: float(parts[part].sum()) for part in PARTS},
            }
        )
    return pd.DataFrame(rows)


def stacked_times(comparison: Comparison, bandwidth: float) -> Picture:
    """Draw one bar per setting, with means over the seeds."""
    target = comparison.target_text
    keys = list(comparison.settings)
    times = time_parts(comparison, bandwidth)
    groups = times.groupby(keys, dropna=False, sort=False)
    bars = groups[[*PARTS]].mean().reset_index()
    bars["reached"] = groups["reached"].all().to_numpy()
    order = sorted(
        range(len(bars)),
        key=lambda i: [*(value_place(bars[key][i]) for key in keys[1:]),
                       place(bars["algorithm"][i])],
    )  # fmt: skip
    bars = bars.loc[order].reset_index(drop=True)
    labels = [_label(bar, keys) for _, bar in bars.iterrows()]
    rows = _rows(bars, keys)
    with picture_style():
        width = COLUMN if max(map(len, labels)) <= LONGEST_LABEL else PAGE
        figure = Figure(figsize=(width, 0.9 + 0.22 * (rows[-1] + 1)), layout="constrained")
        ax = figure.add_subplot()
        left = pd.Series(0.0, index=bars.index)
        for part, (colour, hatch) in _LOOK.items():
            ax.barh(rows, bars[part], left=left, label=part, color=colour, hatch=hatch,
                    edgecolor="white", linewidth=0.4, height=0.7)  # fmt: skip
            left = left + bars[part]
        for row, total, reached in zip(rows, left, bars["reached"], strict=True):
            # Without reaching the target, all rounds are a lower bound.
            text = f"{'' if reached else '> '}{_seconds(float(total))}"
            ax.annotate(text, (float(total), row), xytext=(3, 0),
                        textcoords="offset points", va="center", fontsize=6.5)  # fmt: skip
        ax.set_yticks(rows, labels)
        ax.set_ylim(rows[-1] + 0.6, -0.6)
        ax.grid(visible=False, axis="y")
        ax.set_xlim(0, 1.17 * float(left.max()))
        ax.set_xlabel(f"seconds to {target} at {bandwidth:g} Mbit/s")
        figure.legend(loc="outside lower center", ncols=4, handlelength=1.2, columnspacing=1.0)
    star = ""
    if not bars["reached"].all():
        star = (
            " * and >: for a seed that did not reach it, all its rounds count, which is less than "
            "reaching it takes."
        )
    return Picture(
        name="time",
        title="Compute and communication time",
        caption=(
            f"Seconds until the test {comparison.measure.name} is "
            f"{target}, means over the "
            "seeds, on the machine of the runs. Clients: forward and backward passes of one "
            "client (client_step_seconds / clients: they work side by side). Server and "
            "alignment: as recorded. Communication: 8 · bytes / (clients · bandwidth), each "
            f"client on a link of {bandwidth:g} Mbit/s, both directions. Nothing overlaps; "
            f"starting, serialization and evaluation are not counted.{star}"
        ),
        figure=figure,
    )


def _rows(bars: pd.DataFrame, keys: list[str]) -> list[float]:
    """Return each bar's position; a gap separates bars that differ in more than the algorithm."""
    rows: list[float] = []
    before: list[str] = []
    for i in range(len(bars)):
        group = [repr(bars[key][i]) for key in keys[1:]]
        rows.append(0.0 if not rows else rows[-1] + (1.0 if group == before else 1.6))
        before = group
    return rows


def _label(bar: "pd.Series[Any]", keys: list[str]) -> str:
    others = settings_text({key: bar[key] for key in keys if key != "algorithm"})
    name = label_of(str(bar["algorithm"]))
    return f"{name}{f' ({others})' if others else ''}{'' if bar['reached'] else ' *'}"


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 100 else f"{value:.3g} s"
