"""Flower's log with the time of each line, and errors of this package in one line."""

import io
import logging
import re
from collections.abc import Iterator

import pytest

from fsl_sage_flwr.app.config import ConfigError, RunConfig
from fsl_sage_flwr.runs.log_lines import show_own_errors_in_one_line, show_times


@pytest.fixture
def console() -> Iterator[io.StringIO]:
    """Return what Flower's handler writes to the console."""
    logger = logging.getLogger("flwr")
    (handler,) = [each for each in logger.handlers if hasattr(each, "timestamps")]
    assert isinstance(handler, logging.StreamHandler)
    before, filters = vars(handler).copy(), list(logger.filters)
    handler.stream = io.StringIO()
    yield handler.stream
    vars(handler).update(before)
    logger.filters[:] = filters


def test_every_line_has_its_time(console: io.StringIO) -> None:
    show_times()
    logging.getLogger("flwr.fsl_sage").warning("round 3: client 1 is excluded")
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", console.getvalue())
    assert "client 1 is excluded" in console.getvalue()


def said_of(error: Exception, console: io.StringIO) -> str:
    """Return what the console has of an error, logged as Flower logs it."""
    try:
        raise error
    except type(error) as raised:
        logging.getLogger("flwr").log(
            logging.ERROR, "%s raised an exception", "ServerApp", exc_info=raised
        )
    return console.getvalue()


def test_a_wrong_value_is_one_line(console: io.StringIO) -> None:
    show_own_errors_in_one_line()
    show_own_errors_in_one_line()
    with pytest.raises(ConfigError) as raised:
        RunConfig.from_run_config({"alpha": -1.0})
    said = said_of(raised.value, console)
    assert said.count("\n") == 1
    assert "ServerApp raised an exception: ConfigError: alpha = -1.0: it must be above 0" in said


def test_a_traceback_of_any_other_error_stays(console: io.StringIO) -> None:
    show_own_errors_in_one_line()
    said = said_of(TypeError("a bug"), console)
    assert "Traceback" in said
    assert "TypeError: a bug" in said
