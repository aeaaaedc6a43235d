"""Numbers on the command line."""

import argparse


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    return at_least(1, text)


def at_least(lowest: int, text: str) -> int:
    """Read a whole number of at least the lowest."""
    value = int(text)
    if value < lowest:
        raise argparse.ArgumentTypeError(f"{value} is not at least {lowest}")
    return value


def above_zero(text: str) -> float:
    """Read a number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value
