"""Keep a line of Flower's log away that would mislead."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

# Flower says it of every run whose first evaluation is after the first round.
NO_EVALUATION_YET = "Initial global evaluation results: %s"


@contextmanager
def without_empty_evaluations() -> Iterator[None]:
    """Leave the line out in which Flower says that the initial evaluation gave ``None``."""

    def is_of_use(record: logging.LogRecord) -> bool:
        return not (record.msg == NO_EVALUATION_YET and record.args == (None,))

    logger = logging.getLogger("flwr")
    logger.addFilter(is_of_use)
    try:
        yield
    finally:
        logger.removeFilter(is_of_use)
