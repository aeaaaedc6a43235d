"""Choices and defaults in comparing and drawing results; the command reads them without pandas."""

from typing import Literal

Count = Literal["measured", "reference"]
"""Count the bytes of all messages' contents, or as published figures do."""

Spread = Literal["deviation", "confidence"]
"""Spread over seeds: a standard deviation, or a 95 % confidence interval of the mean."""

BytesScale = Literal["auto", "linear", "log"]
"""Scale of an axis of bytes; auto is log where algorithms differ by more than 5 times."""

MEAN_OF = 3  # rounds, because test accuracy swings by several points from round to round
BANDWIDTH = 100.0  # Mbit/s

# The names in `analysis.pictures.KINDS`; a test compares them.
PICTURES = (
    "accuracy-communication", "accuracy-rounds", "loss-communication", "loss-rounds",
    "accuracy-hours", "accuracy-joules",
    "accuracy-alpha", "scatter-alpha", "time", "align-interval", "head-size",
    "alignment-rounds", "bytes-kinds", "client-seconds", "client-bytes", "client-failures",
)  # fmt: skip
FORMATS = ("png", "svg", "pdf")
