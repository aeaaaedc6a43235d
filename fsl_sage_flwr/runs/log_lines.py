"""Format Flower's log lines: add the time, shorten own errors, hide a misleading line."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

FLOWER = "flwr"
PACKAGE = __name__.partition(".")[0]
# Flower logs this, with None, in each run whose first evaluation follows the first round.
NO_EVALUATION_YET = "Initial global evaluation results: %s"


def show_times() -> None:
    """Add the time to each line of Flower's console handler."""
    for handler in logging.getLogger(FLOWER).handlers:
        if hasattr(handler, "timestamps"):
            handler.timestamps = True


def show_own_errors_in_one_line() -> None:
    """Log errors of this package without their traceback.

    Their text already gives the reason and a fix in one line; Flower's traceback would add thirty.
    Other errors keep their traceback.
    """
    logger = logging.getLogger(FLOWER)
    if _in_one_line not in logger.filters:
        logger.addFilter(_in_one_line)


def _in_one_line(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if error is not None and type(error).__module__.partition(".")[0] == PACKAGE:
        text = f"{record.getMessage()}: {type(error).__name__}: {error}"
        record.msg, record.args = "%s", (text,)
        record.exc_info = record.exc_text = None
    return True


@contextmanager
def without_empty_evaluations() -> Iterator[None]:
    """Hide Flower's line about an initial evaluation that returned ``None``."""

    def has_result(record: logging.LogRecord) -> bool:
        return not (record.msg == NO_EVALUATION_YET and record.args == (None,))

    logger = logging.getLogger(FLOWER)
    logger.addFilter(has_result)
    try:
        yield
    finally:
        logger.removeFilter(has_result)


@contextmanager
def without_console() -> Iterator[None]:
    """Keep Flower's log off the console; other handlers, such as a file's, still get it."""
    console = [h for h in logging.getLogger(FLOWER).handlers if hasattr(h, "timestamps")]
    levels = [handler.level for handler in console]
    for handler in console:
        handler.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for handler, level in zip(console, levels, strict=True):
            handler.setLevel(level)
