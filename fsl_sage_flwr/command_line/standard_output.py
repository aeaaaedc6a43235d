"""Standard output that takes every character, and that may be closed by who reads it."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# 128 and the number of SIGPIPE.
OUTPUT_CLOSED = 141


@contextmanager
def standard_output() -> Iterator[None]:
    """Let everything inside print, whatever the locale is and whoever reads it.

    A character that the terminal's encoding lacks is printed as its escape. A pipe that is closed,
    as by ``head``, ends the program with status 141, as the signal SIGPIPE ends others.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        forget_output()
        raise SystemExit(OUTPUT_CLOSED) from None


def forget_output() -> None:
    """Write what is left of the output nowhere: Python reports a closed pipe again at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
