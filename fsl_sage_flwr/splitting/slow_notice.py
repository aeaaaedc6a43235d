"""Tell a user at a terminal that a long operation is running."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SILENT = 2.0  # seconds


@contextmanager
def slow_notice(text: str) -> Iterator[Callable[[], None]]:
    """Give a function to call between the steps of an operation; it writes a line if that is slow.

    The line is written once, after two seconds and only to a terminal, and removed at the end.

    Parameters
    ----------
    text : str
        The line.
    """
    began, written = time.monotonic(), False

    def step() -> None:
        nonlocal written
        if not written and time.monotonic() - began > SILENT and sys.stderr.isatty():
            written = True
            sys.stderr.write(f"{text} …")
            sys.stderr.flush()

    try:
        yield step
    finally:
        if written:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
