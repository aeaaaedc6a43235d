"""Kinds of pictures, by name."""

from collections.abc import Callable
from functools import partial

from ..choices import PICTURES, BytesScale
from ..comparison import Comparison
from ..run_title import run_title
from .byte_kinds import bytes_by_kind
from .pairs import PAIRS, draw_named_pair, draw_pair
from .panels import NothingToDrawError
from .scatter import scatter_over_alpha
from .style import Picture, add_title, picture_style
from .times import stacked_times

# Each function gets the comparison, the bandwidth of a client's link in Mbit/s and the scale of
# an axis of bytes.
Drawing = Callable[[Comparison, float, BytesScale], Picture]


def _pair(kind: str, runs: Comparison, _: float, scale: BytesScale) -> Picture:
    return draw_named_pair(kind, runs, scale)


_OTHERS: dict[str, Drawing] = {
    "scatter-alpha": lambda runs, _, scale: scatter_over_alpha(runs, scale),
    "time": lambda runs, bandwidth, _: stacked_times(runs, bandwidth),
    "bytes-kinds": lambda runs, _, __: bytes_by_kind(runs),
}
KINDS: dict[str, Drawing] = {
    name: partial(_pair, name) if name in PAIRS else _OTHERS[name] for name in PICTURES
}


def draw(
    kind: str, comparison: Comparison, bandwidth: float, scale: BytesScale = "auto"
) -> Picture:
    """Draw one kind of picture, titled with the runs' common settings.

    Raises
    ------
    NothingToDrawError
        The results lack the data of this kind.
    """
    try:
        picture = KINDS[kind](comparison, bandwidth, scale)
    except NothingToDrawError as error:
        raise NothingToDrawError(f"{kind}: {error}") from error
    return _titled(picture, comparison)


def draw_xy(
    comparison: Comparison, x: str, y: str | None = None, scale: BytesScale = "auto"
) -> Picture:
    """Draw a column against an axis as :func:`draw_pair`, titled with the common settings."""
    return _titled(draw_pair(comparison, x, y, scale), comparison)


def draw_all(
    comparison: Comparison, bandwidth: float, scale: BytesScale = "auto"
) -> tuple[list[Picture], list[str]]:
    """Draw every kind of picture for which the results have enough variation.

    Returns
    -------
    tuple
        The pictures, and one line per kind that was left out.
    """
    pictures, left_out = [], []
    for kind in KINDS:
        try:
            pictures.append(draw(kind, comparison, bandwidth, scale))
        except NothingToDrawError as error:
            left_out.append(f"not drawn, {error}")
    return pictures, left_out


def _titled(picture: Picture, comparison: Comparison) -> Picture:
    with picture_style():
        add_title(picture.figure, run_title(comparison))
    return picture
