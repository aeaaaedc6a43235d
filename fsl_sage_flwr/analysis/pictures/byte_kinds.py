"""Draw the bytes by kind (client halves, heads, smashed data, gradients) as stacked bars."""

import pandas as pd

from ...byte_columns import BYTE_COLUMNS, DIRECTIONS
from ...units import byte_unit
from ..comparison import Comparison
from .panels import NothingToDrawError, panels_of
from .stacked_bars import Bar, Part, stacked_bars
from .style import Picture, picture_style, styles

# Okabe and Ito's colours, from left to right.
_COLOURS = {
    "client_half": "#0072B2",
    "full_model": "#56B4E9",
    "auxiliary": "#009E73",
    "smashed": "#E69F00",
    "gradients": "#D55E00",
    "labels": "#CC79A7",
    "other": "#7F7F7F",
}
# Downwards is plain, upwards is hatched.
_HATCHES = {"down": "", "up": "////"}
_PARTS = {
    f"{direction}_{kind}_bytes": Part(f"{kind.replace('_', ' ')} {direction}", colour,
                                      _HATCHES[direction])
    for kind, colour in _COLOURS.items()
    for direction in DIRECTIONS
}  # fmt: skip
# A kind with a smaller share of all bars is too thin to see, and not in the legend.
_THIN = 0.002


def sent_bytes(runs: pd.DataFrame) -> "pd.Series[float]":
    """Return the bytes of each column of the ledger of a whole run, the mean over the runs."""
    columns = [column for column in BYTE_COLUMNS if column in runs]
    return runs.groupby("run")[columns].sum().astype(float).mean()


def bytes_by_kind(comparison: Comparison) -> Picture:
    """Draw the measured bytes of whole runs by kind and direction, one bar per algorithm.

    Raises
    ------
    NothingToDrawError
        The runs have no bytes by kind.
    """
    look = styles(comparison.rounds["algorithm"].tolist())
    found = [
        (panel, [(runs, sent) for _, runs in panel.lines(look) if (sent := sent_bytes(runs)).sum()])
        for panel in panels_of(comparison)
    ]
    found = [(panel, lines) for panel, lines in found if lines]
    if not found:
        raise NothingToDrawError("the runs have no bytes by kind")
    largest = max(float(sent.sum()) for _, lines in found for _, sent in lines)
    unit, unit_name = byte_unit(largest)
    same_length = len({_rounds(runs) for _, lines in found for runs, _ in lines}) == 1
    groups = [
        (
            panel.title,
            [
                Bar(
                    panel.label(runs),
                    {str(kind): size / unit for kind, size in sent.items()},
                    f"{float(sent.sum()) / unit:.3g} {unit_name}"
                    + ("" if same_length else f", {_rounds(runs):g} rounds"),
                )
                for runs, sent in lines
            ],
        )
        for panel, lines in found
    ]
    seen = {
        kind: part
        for kind, part in _PARTS.items()
        if any(
            bar.sizes.get(kind, 0.0) * unit > _THIN * largest for _, own in groups for bar in own
        )
    }
    with picture_style():
        figure = stacked_bars(groups, seen, f"communication ({unit_name})")
    return Picture(
        name="bytes-kinds",
        title="Bytes by kind",
        caption=(
            "Bytes of all messages' contents (without Flower's framing), of all clients in the "
            "whole run, as measured, by kind: down is from the server to the clients, up (hatched) "
            "is from them. Means over the seeds. Kinds that are too thin to see are left out."
        ),
        figure=figure,
    )


def _rounds(runs: pd.DataFrame) -> float:
    return float(runs.groupby("run")["round"].max().mean())
