"""Numbers on the command line."""

import argparse


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    return at_least(1, text)


def at_least(lowest: int, text: str) -> int:
    """Read a whole number of at least the lowest."""
    try:
        value = int(text)
    except ValueError:
        value = lowest - 1  # the same line for both mistakes
    if value < lowest:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not valid; give a whole number of at least {lowest}"
        )
    return value


def above_zero(text: str) -> float:
    """Read a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0  # the same line for both mistakes
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not valid; give a number above 0")
    return value
