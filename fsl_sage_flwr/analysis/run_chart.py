"""Build the data of the report's interactive chart, one curve per run."""

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from ..units import MIB
from .declared import label_of
from .load_results import Run
from .measure import ACCURACY, LOSS, PERPLEXITY
from .pictures.style import styles

# Significant digits in the chart.
_DIGITS = 5

_ACROSS: dict[str, Callable[[pd.DataFrame], "pd.Series[float]"]] = {
    "round": lambda history: history["round"],
    "communication (MiB)": lambda history: history["comm_bytes"] / MIB,
    "seconds": lambda history: history["seconds"].cumsum(),
}
_UP = {
    f"test {measure.heading}": (measure.column, measure.scale)
    for measure in (ACCURACY, PERPLEXITY, LOSS)
} | {"train loss": ("train_loss", 1.0), "alignment cosine": ("alignment_cosine", 1.0)}


def chart_data(runs: Sequence[Run], labels: Sequence[str]) -> dict[str, Any]:
    """Return the curves and the possible axes.

    Parameters
    ----------
    runs : sequence of Run
        All runs; those without a finished round have empty curves.
    labels : sequence of str
        Names of the runs in the legend.

    Returns
    -------
    dict
        ``across`` and ``up``, the names of the possible axes; ``runs``, one entry per run: name,
        group, colour and dashes, and ``values`` by axis.
    """
    algorithms = [str(run.config.get("algorithm", "")) for run in runs]
    look = styles(algorithms)
    curves = []
    for run, label, algorithm in zip(runs, labels, algorithms, strict=True):
        style = look[algorithm]
        curves.append(
            {
                # plotly interprets some tags in names.
                "name": html.escape(label),
                "group": html.escape(label_of(algorithm)),
                "colour": style.colour,
                "dash": _dash(style.dashes),
                "values": _values(run.history),
            }
        )
    known = {name for curve in curves for name in curve["values"]}
    return {
        "across": list(_ACROSS),
        "up": [name for name in _UP if name in known],
        "runs": curves,
    }


def chart_html(data: Mapping[str, Any]) -> str:
    """Return the chart of :func:`chart_data` as HTML with plotly.js; empty if it has no curve.

    Two menus choose the axes. The page's style gives text, grid and menus the colours of its
    scheme.
    """
    runs, across, up = data["runs"], data["across"], data["up"]
    if not up:
        return ""
    titled = set[str]()
    figure = go.Figure()
    for run in runs:
        title = None if run["group"] in titled else {"text": run["group"]}
        titled.add(run["group"])
        figure.add_trace(
            go.Scatter(
                name=run["name"], x=run["values"].get(across[0], []),
                y=run["values"].get(up[0], []), mode="lines+markers", connectgaps=True,
                legendgroup=run["group"], legendgrouptitle=title, marker={"size": 4},
                line={"color": run["colour"], "dash": run["dash"], "width": 1.8},
                hovertemplate="%{fullData.name}<br>%{xaxis.title.text} %{x}: %{y}<extra></extra>",
            )
        )  # fmt: skip
    figure.update_layout(
        xaxis_title=across[0], yaxis_title=up[0], height=544, margin={"r": 10},
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
        legend={"groupclick": "toggleitem"},
        updatemenus=[_menu(runs, "y", up, 0.0), _menu(runs, "x", across, 0.3)],
    )  # fmt: skip
    config = {"responsive": True, "displaylogo": False}
    return str(figure.to_html(full_html=False, div_id="chart", config=config))


def _menu(
    runs: Sequence[Mapping[str, Any]], axis: str, names: Sequence[str], left: float
) -> dict[str, Any]:
    """Return a menu that shows another quantity along an axis."""
    buttons = [
        {
            "label": name,
            "method": "update",
            "args": [
                {axis: [run["values"].get(name, []) for run in runs]},
                {f"{axis}axis.title.text": name},
            ],
        }
        for name in names
    ]
    return {"buttons": buttons, "x": left, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}


def _values(history: pd.DataFrame) -> dict[str, list[float | None]]:
    """Return the values of each axis with data in the history."""
    if history.empty:
        return {}
    found = {name: axis(history) for name, axis in _ACROSS.items()}
    for name, (column, scale) in _UP.items():
        if column in history and history[column].notna().any():
            found[name] = scale * history[column].astype(float)
    return {name: [_short(value) for value in values] for name, values in found.items()}


def _short(value: Any) -> float | None:
    return None if pd.isna(value) else float(f"{float(value):.{_DIGITS}g}")


def _dash(dashes: str | tuple[int, tuple[float, ...]]) -> str:
    """Convert matplotlib's dashes to plotly's."""
    if isinstance(dashes, str):
        return {"--": "dash", ":": "dot", "-.": "dashdot"}.get(dashes, "solid")
    return ",".join(f"{2 * length:g}px" for length in dashes[1])
