"""Tables of which a developer's run goes through some rows, and CI through all."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def rows(
    argument: str,
    table: Iterable[Any],
    here: Callable[[Any], bool],
    ids: Iterable[str] | None = None,
) -> pytest.MarkDecorator:
    """Parametrize with a table; only CI runs the rows that ``here`` is not true of.

    They are those that all but repeat another: each side of the difference is in a row that
    every run goes through.
    """
    values = [
        row if here(row) else pytest.param(row, marks=pytest.mark.integration) for row in table
    ]
    return pytest.mark.parametrize(argument, values, ids=ids)
