"""Draw any column against any axis, and the named pairs of them."""

import re
from dataclasses import replace

import pandas as pd

from ..choices import BytesScale
from ..comparison import JUDGED, Comparison, run_figures
from ..declared import known_settings
from ..load_results import CLIENTS, HEAD_SIZE
from ..measure import LOSS
from .clients import by_client
from .curves import ALONG_ROUNDS, curves
from .panels import NothingToDrawError
from .points import points
from .style import Picture

CLIENT = "client"
MEASURE = "test_{measure}"
# Horizontal and vertical axis by name; "{measure}" is accuracy, perplexity or loss.
PAIRS = {
    "accuracy-communication": ("bytes", MEASURE),
    "accuracy-rounds": ("round", MEASURE),
    "loss-communication": ("bytes", LOSS.column),
    "loss-rounds": ("round", LOSS.column),
    "accuracy-hours": ("hours", MEASURE),
    "accuracy-joules": ("joules", MEASURE),
    "accuracy-alpha": ("alpha", "{measure}_at_budget"),
    "align-interval": ("align.interval", "final_{measure}"),
    "head-size": (HEAD_SIZE, "final_{measure}"),
    "alignment-rounds": ("round", "alignment_cosine"),
    "client-seconds": (CLIENT, "seconds"),
    "client-bytes": (CLIENT, "bytes"),
    "client-failures": (CLIENT, "failures"),
}


def draw_named_pair(kind: str, comparison: Comparison, scale: BytesScale = "auto") -> Picture:
    """Draw the pair of a name in :data:`PAIRS`.

    Raises
    ------
    NothingToDrawError
        The results lack its data, or it is the measure and the runs have only a loss.
    """
    x, y = PAIRS[kind]
    if y == MEASURE and comparison.measure == LOSS:
        raise NothingToDrawError("the runs have no accuracy; loss-… shows how they do")
    picture = draw_pair(comparison, x, y, scale)
    return replace(picture, name=kind.replace("accuracy", comparison.measure.name))


def draw_pair(
    comparison: Comparison, x: str, y: str | None = None, scale: BytesScale = "auto"
) -> Picture:
    """Draw column ``y`` against ``x``.

    Parameters
    ----------
    comparison : Comparison
        The runs.
    x : str
        ``round``, ``bytes``, ``seconds``, ``hours`` or ``joules`` (curves of the history; the last
        two need runs with a virtual clock), ``client`` (columns of
        ``clients.csv``), or a setting (a figure of each run).
    y : str, optional
        The column; ``{measure}`` in it stands for accuracy, perplexity or loss. By default the
        latency of clients, or the measure: over the rounds, or after the last one.
    scale : {"auto", "linear", "log"}
        Scale of an axis of bytes.

    Raises
    ------
    NothingToDrawError
        There is no such column or setting, or it has too few values.
    """
    if y is None:
        y = "seconds" if x == CLIENT else MEASURE if x in ALONG_ROUNDS else "final_{measure}"
    y = y.replace("{measure}", comparison.measure.name)
    if x == CLIENT:
        return by_client(comparison, y, scale)
    valid = _columns(comparison.rounds)
    if x in ALONG_ROUNDS and ALONG_ROUNDS[x] not in comparison.rounds:
        raise NothingToDrawError(
            f"not all runs have the virtual clock's {x}; set clock.device in the runs, or give "
            "`fsl-sage time` a device and a link"
        )
    if x not in ALONG_ROUNDS:
        figures = run_figures(comparison).select_dtypes("number")
        valid = [name for name in map(str, figures) if name not in ("seed", HEAD_SIZE)
                 and name not in comparison.settings] + valid  # fmt: skip
    if y not in valid:
        raise NothingToDrawError(
            f"the runs have no values in {y!r}; columns with values: "
            f"{', '.join(dict.fromkeys(valid))}"
        )
    drawn = curves if x in ALONG_ROUNDS else points
    picture = drawn(comparison, x, y, scale)
    return replace(picture, name=re.sub(r"[^\w.-]", "-", picture.name))


def _columns(rounds: pd.DataFrame) -> list[str]:
    """Return the columns with numbers that are no settings."""
    others = {"round", "completed", HEAD_SIZE, CLIENTS, JUDGED, *known_settings()}
    return [
        name
        for name in map(str, rounds.columns)
        # A hyphen or a dot marks the keys of another project's algorithm.
        if name not in others and not set("-.") & set(name)
        and pd.api.types.is_numeric_dtype(rounds[name]) and rounds[name].notna().any()
    ]  # fmt: skip
