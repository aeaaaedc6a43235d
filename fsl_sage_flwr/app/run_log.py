"""The log of a run, which is kept with its results."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..atomic_files import writing

LOG = "run.log"
_FORMAT = "%(asctime)s %(levelname)s: %(message)s"


@contextmanager
def logged_to(directory: Path) -> Iterator[None]:
    """Append what Flower and this package log inside to ``run.log``, with the times.

    Flower's own log of a run stays with the SuperLink, and a simulation's SuperLink ends with the
    run. An exception is written with its traceback.

    Raises
    ------
    DiskError
        The file cannot be written.
    """
    path = directory / LOG
    with writing(path):
        handler = _Handler(path, encoding="utf-8", errors="backslashreplace")
    handler.setLevel(logging.INFO)
    handler.setFormatter(logging.Formatter(_FORMAT))
    logger = logging.getLogger("flwr")
    logger.addHandler(handler)
    try:
        yield
    except BaseException:
        text = "the ServerApp ended with an exception"
        record = logging.LogRecord("flwr", logging.ERROR, "", 0, text, (), sys.exc_info())
        handler.handle(record)
        raise
    finally:
        logger.removeHandler(handler)
        with suppress(OSError):  # what is left of the last line, on a full disk
            handler.close()


class _Handler(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Drop a line that the disk does not take: the run ends with that error itself."""
