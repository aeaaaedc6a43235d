"""Kinds of pictures of results."""

from .kinds import KINDS, draw, draw_all, draw_xy
from .panels import NothingToDrawError
from .style import Picture, PictureFormat, encoded

__all__ = [
    "KINDS",
    "NothingToDrawError",
    "Picture",
    "PictureFormat",
    "draw",
    "draw_all",
    "draw_xy",
    "encoded",
]
