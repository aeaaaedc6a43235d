"""Draw computation and communication time at a given bandwidth as stacked bars."""

import pandas as pd

from ..comparison import JUDGED, Comparison
from .panels import panels_of
from .stacked_bars import Bar, Part, stacked_bars
from .style import Picture, picture_style, styles

# From light to dark, for four tones in a grey copy; the hatches also distinguish the parts.
PARTS = {
    "clients": Part("clients", "#56B4E9"),
    "server": Part("server", "#E69F00", "///"),
    "alignment": Part("alignment", "#009E73", "..."),
    "communication": Part("communication", "#4D4D4D"),
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
    """Draw one bar per algorithm and setting, with means over the seeds.

    The target is chosen per group of bars, which is a panel of other pictures.
    """
    look = styles(comparison.rounds["algorithm"].tolist())
    groups, star = list[tuple[str, list[Bar]]](), ""
    for panel in panels_of(comparison):
        own = comparison.within(panel.rounds)
        times, bars = time_parts(own, bandwidth), list[Bar]()
        for _, runs in panel.lines(look):
            of_line = times[times["run"].isin(runs["run"])]
            means = of_line[[*PARTS]].mean()
            reached = bool(of_line["reached"].all())
            # Without reaching the target, all rounds are a lower bound.
            text = f"{'' if reached else '> '}{_seconds(float(means.sum()))}"
            sizes = {str(part): float(size) for part, size in means.items()}
            bars.append(Bar(f"{panel.label(runs)}{'' if reached else ' *'}", sizes, text))
            star = star if reached else _STAR
        target = f"to {own.target_text}"
        groups.append((f"{panel.title}: {target}" if panel.title else "", bars))
    target = f"to {comparison.target_text}" if len(groups) == 1 else "to the target"
    with picture_style():
        figure = stacked_bars(groups, PARTS, f"seconds {target}\nat {bandwidth:g} Mbit/s")
    return Picture(
        name="time",
        title="Compute and communication time",
        caption=(
            f"Seconds until the test {comparison.measure.name} reaches the target, means over the "
            "seeds, on the machine of the runs. Clients: forward and backward passes of one "
            "client (client_step_seconds / clients: they work side by side). Server and "
            "alignment: as recorded. Communication: 8 · bytes / (clients · bandwidth), each "
            f"client on a link of {bandwidth:g} Mbit/s, both directions. Nothing overlaps; "
            f"starting, serialization and evaluation are not counted.{star}"
        ),
        figure=figure,
    )


_STAR = (
    " * and >: for a seed that did not reach it, all its rounds count, which is less than "
    "reaching it takes."
)


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 100 else f"{value:.3g} s"
