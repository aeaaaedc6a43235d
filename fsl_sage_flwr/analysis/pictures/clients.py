"""Draw latency, bytes, failures and other columns of ``clients.csv`` by client."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ...line_style import LineStyle
from ..choices import BytesScale
from ..client_rows import client_rows
from ..comparison import Comparison
from .panels import NothingToDrawError, panels_of
from .quantity import Quantity, is_logarithmic, make_logarithmic, quantity_of
from .style import Picture, grid_of_axes, label_axes, legend_below, picture_style, styles

_LABELS = {"seconds": "latency per round (s)", "failures": "rounds with an exclusion"}
# Columns of one total per run; of others the median round is drawn.
_ADDED = ("bytes", "down_bytes", "up_bytes", "failures", "sample_uploads")
# Columns that are no figures of a client.
_OTHER = ("round", "client", "node_id", "seed")
_MOST_APART = 12  # clients whose marks are drawn side by side, with bars
_WIDTH = 0.5  # of the place of a client, for the marks of all algorithms


def by_client(comparison: Comparison, y: str, scale: BytesScale = "auto") -> Picture:
    """Draw a column of ``clients.csv`` by client, one mark per algorithm.

    Parameters
    ----------
    comparison : Comparison
        The runs.
    y : str
        ``seconds``, ``bytes``, ``failures`` or another column with numbers.
    scale : {"auto", "linear", "log"}
        Scale of an axis of bytes.

    Raises
    ------
    NothingToDrawError
        The runs have no rows of clients or no such column, or no client was excluded.
    """
    rows = client_rows(comparison.rounds)
    if rows.empty:
        raise NothingToDrawError("the runs have no rows in clients.csv")
    valid = [str(name) for name in rows.select_dtypes("number") if name not in _OTHER]
    if y not in valid:
        raise NothingToDrawError(f"no column {y!r} in clients.csv; valid: {', '.join(valid)}")
    if y == "failures" and not rows[y].any():
        raise NothingToDrawError("no client was excluded from a round")
    values = client_values(rows, y)
    if values.empty:
        raise NothingToDrawError(f"clients.csv has no values in {y}")
    panels = [p for p in panels_of(comparison) if p.rounds["run"].isin(values["run"]).any()]
    look = styles(values["algorithm"].tolist())
    up = quantity_of(y, values["mean"])
    clients = sorted(set(values["client"]))
    with picture_style():
        figure, axes = grid_of_axes(len(panels))
        for panel, ax in zip(panels, axes, strict=True):
            lines = list(panel.lines(look))
            for index, (name, runs) in enumerate(lines):
                own = values[values["run"].isin(runs["run"])]
                apart = _WIDTH * ((index + 0.5) / len(lines) - 0.5)
                _draw(ax, own, up, look[name], apart if len(clients) <= _MOST_APART else None)
            ax.set_title(panel.title)
        _set_axis(axes[0], clients)
        if is_logarithmic(up, values, scale, column="mean"):
            make_logarithmic(axes[0], "y")
        else:
            axes[0].set_ylim(bottom=0.0, top=1.08 * float(values["high"].max()) / up.unit or None)
        if y == "failures":
            axes[0].yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        label_axes(axes, "client", _LABELS.get(y, up.label))
        has_bars = y not in _ADDED and len(clients) <= _MOST_APART
        legend_below(figure, look, note="bars: quartiles of the rounds" if has_bars else "")
    what = _LABELS.get(y, up.label).rpartition(" (")[0] or _LABELS.get(y, up.label)
    return Picture(
        name=f"client-{y.replace('_', '-')}",
        title=f"{what[0].upper()}{what[1:]} by client",
        caption=_caption(y, many=len(clients) > _MOST_APART),
        figure=figure,
    )


def client_values(rows: pd.DataFrame, y: str) -> pd.DataFrame:
    """Return each client's value in each run.

    Returns
    -------
    DataFrame
        ``run``, ``algorithm``, ``client``; ``mean``: the total of bytes, failures and uploads, the
        median round of other columns; ``low`` and ``high``: the quartiles of the rounds, or the
        total again.
    """
    groups = rows[rows[y].notna()].groupby(["run", "algorithm", "client"])[y]
    if y in _ADDED:
        total = groups.sum()
        values = pd.DataFrame({"mean": total, "low": total, "high": total})
    else:
        values = pd.DataFrame({"mean": groups.median(), "low": groups.quantile(0.25),
                               "high": groups.quantile(0.75)})  # fmt: skip
    return values.astype(float).reset_index()


def _draw(
    ax: Axes, values: pd.DataFrame, up: Quantity, style: LineStyle, apart: float | None
) -> None:
    """Draw the means over the runs; with a distance from the client's place also the quartiles."""
    means = values.groupby("client")[["mean", "low", "high"]].mean() / up.unit
    line = {**style.line(), "linestyle": ""}
    if apart is None:
        ax.plot(means.index, means["mean"], **{**line, "markersize": 0.6 * style.size})
        return
    below, above = means["mean"] - means["low"], means["high"] - means["mean"]
    ax.errorbar(means.index + apart, means["mean"], yerr=[below.clip(lower=0), above.clip(lower=0)],
                capsize=2.0, elinewidth=0.8, **line)  # fmt: skip


def _set_axis(ax: Axes, clients: list[int]) -> None:
    if len(clients) <= _MOST_APART:
        ax.set_xticks(clients, [str(client) for client in clients])
        ax.set_xlim(clients[0] - 0.5, clients[-1] + 0.5)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _caption(y: str, *, many: bool) -> str:
    parts = [f"Column {y} of clients.csv by client (its partition)."]
    if y == "seconds":
        parts = ["Time until a client's replies arrived, over all its messages of a round."]
    elif y == "failures":
        parts = ["Rounds from which a client's reply was excluded."]
    elif y == "bytes":
        parts = ["Bytes to and from each client in the whole run."]
    if y in _ADDED:
        parts.append("Means over the runs.")
    elif many:
        parts.append("Median round, mean over the runs.")
    else:
        parts.append("Median round, with bars from the first to the third quartile; means over "
                     "the runs.")  # fmt: skip
    return " ".join(parts)
