"""Columns of a run's tables with the bytes of messages, by direction and kind of payload."""

from typing import Literal

Direction = Literal["down", "up"]
DIRECTIONS: tuple[Direction, ...] = ("down", "up")

PAYLOADS = ("client_half", "auxiliary", "smashed", "labels", "gradients")
FULL_MODEL, OTHER = "full_model", "other"

BYTE_COLUMNS = tuple(
    f"{direction}_{kind}_bytes"
    for direction in DIRECTIONS
    for kind in (*PAYLOADS, FULL_MODEL, OTHER)
)
