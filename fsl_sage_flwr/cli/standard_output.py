"""Print any character, and end cleanly when the output is closed."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# 128 plus the number of SIGPIPE.
OUTPUT_CLOSED = 141


class OutputClosedError(KeyboardInterrupt):
    """The standard output is closed, as in ``fsl-sage runs | head``.

    It ends a command like an interrupt: a run is ended with all its processes.
    """


@contextmanager
def standard_output() -> Iterator[None]:
    """Make printing safe inside the context, in any locale and for a closed pipe.

    A character that the terminal's encoding lacks is printed as its escape. A pipe closed by its
    reader, such as ``head``, ends the program with status 141, like SIGPIPE.
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
    """Discard the remaining output, because Python reports a closed pipe again at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
