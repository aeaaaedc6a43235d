"""Label, unit and scale of a column on an axis."""

from dataclasses import dataclass
from typing import Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from ...units import byte_unit
from ..choices import BytesScale
from ..comparison import HOURS, KILOJOULES

# Ratio of two algorithms' bytes for a logarithmic axis.
WIDE = 5.0

_LABELS = {
    "bytes": "communication",
    "comm_bytes": "communication",
    "comm_bytes_reference": "communication as published",
    "elapsed": "seconds since the start",
    HOURS: "virtual time (hours)",
    KILOJOULES: "energy of the clients (kJ)",
}
# Sentences of a caption, for columns that need one.
MEANINGS = {
    "alignment_cosine": "Cosine between the gradients that the auxiliary heads estimate and the "
    "true ones of the server half, over the newest held-out samples, after each alignment: 1 is "
    "the same direction, 0 none.",
}


@dataclass(frozen=True)
class Quantity:
    """A column on an axis.

    Attributes
    ----------
    column : str
        Name of the column.
    label : str
        Label of the axis, with the unit.
    unit : float
        Size of the shown unit; values are divided by it.
    is_bytes, is_share : bool
        Whether the values are bytes, or fractions shown in percent.
    """

    column: str
    label: str
    unit: float = 1.0
    is_bytes: bool = False
    is_share: bool = False


def quantity_of(column: str, values: "pd.Series[float]") -> Quantity:
    """Return label and unit for a column with these values."""
    label = _LABELS.get(column, column.removesuffix("_bytes").replace("_", " "))
    if "bytes" in column and not column.endswith("ratio"):
        unit, name = byte_unit(float(values.max()))
        return Quantity(column, f"{label} ({name})", unit, is_bytes=True)
    if column.endswith("accuracy"):
        return Quantity(column, f"{label} (%)", 0.01, is_share=True)
    return Quantity(column, label)


def is_logarithmic(
    quantity: Quantity, totals: pd.DataFrame, scale: BytesScale, *, column: str | None = None
) -> bool:
    """Return whether an axis of bytes is logarithmic; other axes are not.

    Parameters
    ----------
    quantity : Quantity
        Quantity on the axis.
    totals : DataFrame
        ``algorithm`` and the quantity's column, a row per run.
    scale : {"auto", "linear", "log"}
        ``auto`` takes a logarithmic axis where the algorithms' means differ by more than
        :data:`WIDE` times.
    column : str, optional
        Column of ``totals`` to compare, if it is not the quantity's.
    """
    if not quantity.is_bytes or scale == "linear":
        return False
    means = totals.groupby("algorithm")[column or quantity.column].mean().astype(float)
    means = means[means > 0]
    if scale == "log":
        return len(means) > 0
    return len(means) > 1 and float(means.max() / means.min()) > WIDE


def make_logarithmic(ax: Axes, which: Literal["x", "y"]) -> None:
    """Make an axis logarithmic with plain numbers; within two decades also at 2 and 5."""
    axis, set_scale = (ax.xaxis, ax.set_xscale) if which == "x" else (ax.yaxis, ax.set_yscale)
    set_scale("log")

    def minor(value: float, _: int | None) -> str:
        low, high = axis.get_view_interval()
        is_short = low > 0 and high / low < 100
        return f"{value:g}" if is_short and f"{value:e}"[0] in "25" else ""

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(minor))
