"""Write a run's log beside its results."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..atomic_files import explain_disk_errors

LOG = "run.log"
_FORMAT = "%(asctime)s %(levelname)s: %(message)s"


@contextmanager
def logged_to(directory: Path) -> Iterator[None]:
    """Append all log lines of Flower and this package to ``run.log``, with the times.

    Flower's log of a run stays with the SuperLink, and a simulation's SuperLink ends with the run.
    An exception is logged with its traceback.

    Raises
    ------
    DiskError
        The file cannot be written.
    """
    path = directory / LOG
    with explain_disk_errors(path):
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
        with suppress(OSError):  # flushing the last line may fail on a full disk
            handler.close()


class _Handler(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Drop a line that cannot be written: the run itself ends with that error."""
