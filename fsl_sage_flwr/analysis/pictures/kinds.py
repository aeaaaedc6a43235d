"""Kinds of pictures, by name."""

from collections.abc import Callable

from ..comparison import Comparison
from ..run_title import run_title
from .against_alpha import accuracy_against_alpha
from .against_number import accuracy_against_align_interval, accuracy_against_head_size
from .alignment import alignment_against_rounds
from .byte_kinds import bytes_by_kind
from .curves import (
    accuracy_against_communication,
    accuracy_against_rounds,
    loss_against_communication,
    loss_against_rounds,
)
from .panels import NothingToDrawError
from .scatter import scatter_over_alpha
from .style import Picture, add_title, picture_style
from .times import stacked_times

# Each function gets the comparison and the bandwidth of a client's link in Mbit/s.
KINDS: dict[str, Callable[[Comparison, float], Picture]] = {
    "accuracy-communication": lambda runs, _: accuracy_against_communication(runs),
    "accuracy-rounds": lambda runs, _: accuracy_against_rounds(runs),
    "loss-communication": lambda runs, _: loss_against_communication(runs),
    "loss-rounds": lambda runs, _: loss_against_rounds(runs),
    "accuracy-alpha": lambda runs, _: accuracy_against_alpha(runs),
    "scatter-alpha": lambda runs, _: scatter_over_alpha(runs),
    "time": stacked_times,
    "align-interval": lambda runs, _: accuracy_against_align_interval(runs),
    "head-size": lambda runs, _: accuracy_against_head_size(runs),
    "alignment-rounds": lambda runs, _: alignment_against_rounds(runs),
    "bytes-rounds": lambda runs, _: bytes_by_kind(runs),
}


def draw(kind: str, comparison: Comparison, bandwidth: float) -> Picture:
    """Draw one kind of picture, titled with the runs' common settings.

    Raises
    ------
    NothingToDrawError
        The results lack the data of this kind.
    """
    try:
        picture = KINDS[kind](comparison, bandwidth)
    except NothingToDrawError as error:
        raise NothingToDrawError(f"{kind}: {error}") from error
    with picture_style():
        add_title(picture.figure, run_title(comparison))
    return picture


def draw_all(comparison: Comparison, bandwidth: float) -> tuple[list[Picture], list[str]]:
    """Draw every kind of picture for which the results have enough variation.

    Returns
    -------
    tuple
        The pictures, and one line per kind that was left out.
    """
    pictures, left_out = [], []
    for kind in KINDS:
        try:
            pictures.append(draw(kind, comparison, bandwidth))
        except NothingToDrawError as error:
            left_out.append(f"not drawn, {error}")
    return pictures, left_out
