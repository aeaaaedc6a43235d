"""Parametrize tests with tables: some rows in a developer's run, all in CI."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def rows(
    argument: str | tuple[str, ...],
    table: Iterable[Any],
    here: Callable[[Any], bool],
    ids: Iterable[str] | None = None,
) -> pytest.MarkDecorator:
    """Parametrize with a table; only CI runs the rows that ``here`` is not true of.

    They are those that all but repeat another: each side of the difference is in a row that
    every run goes through.
    """
    single = isinstance(argument, str)
    values = [
        pytest.param(*((row,) if single else row), marks=[] if here(row) else pytest.mark.slow)
        for row in table
    ]
    return pytest.mark.parametrize(argument, values, ids=ids)
