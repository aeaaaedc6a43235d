"""Lines of Flower's log: with the time, and one line for an error of this package."""

import logging

FLOWER = "flwr"
PACKAGE = __name__.partition(".")[0]


def show_times() -> None:
    """Have Flower's console handler write the time of each line."""
    for handler in logging.getLogger(FLOWER).handlers:
        if hasattr(handler, "timestamps"):
            handler.timestamps = True


def show_own_errors_in_one_line() -> None:
    """Have Flower log an error of this package without its traceback.

    Such an error says in one line what is wrong and what to do; Flower's log would put its own
    thirty lines around it. The traceback of any other error stays.
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
