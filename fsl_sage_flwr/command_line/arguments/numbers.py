"""Parse numbers on the command line."""

import argparse


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    return at_least(1, text)


def at_least(lowest: int, text: str) -> int:
    """Parse a whole number of at least ``lowest``."""
    try:
        value = int(text)
    except ValueError:
        value = lowest - 1  # gives the same error as a number out of range
    if value < lowest:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not valid; give a whole number of at least {lowest}"
        )
    return value


def above_zero(text: str) -> float:
    """Parse a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0  # gives the same error as a number out of range
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not valid; give a number above 0")
    return value
