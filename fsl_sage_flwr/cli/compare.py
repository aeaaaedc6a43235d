"""``fsl-sage compare``: compare two runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..analysis.choices import MEAN_OF
from .comparison import BudgetMib, CountBytes, MeanOf, Target, budget_in_bytes
from .options import Imports, existing_directory
from .printing import consoles, say, wide

if TYPE_CHECKING:
    from rich.table import Table

    from ..analysis.compare import Difference


def compare_command(
    first: Annotated[
        Path,
        typer.Argument(metavar="A", help="directory of a run", callback=existing_directory),
    ],
    second: Annotated[
        Path,
        typer.Argument(metavar="B", help="directory of another run", callback=existing_directory),
    ],
    target: Target = None,
    mean_of: MeanOf = MEAN_OF,
    budget_mib: BudgetMib = None,
    count: CountBytes = "measured",
    imports: Imports = None,
) -> int:
    """Compare two runs of any state, in configuration and in results."""
    from ..analysis.compare import load_pair, result_differences, setting_differences

    one, other = load_pair(first, second)
    settings = setting_differences(one, other)
    results, notes = result_differences(
        one, other, target=target, mean_of=mean_of, count=count, budget=budget_in_bytes(budget_mib)
    )
    console, errors = consoles()
    say(console, f"A: {one.name}\nB: {other.name}\n")
    on = wide(console)
    if settings:
        on.print(_table("setting", settings))
    else:
        say(console, "no setting differs")
    say(console, "")
    on.print(_table("result", results))
    for note in notes:
        say(errors, note)
    return 0


def _table(heading: str, lines: Iterable[Difference]) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    figures = heading == "result"
    table.add_column(heading, no_wrap=True)
    for name in ("A", "B"):
        table.add_column(name, justify="right" if figures else "left", overflow="fold")
    if figures:
        table.add_column("A to B", justify="right", no_wrap=True)
    for line in lines:
        cells = (line.name, line.first, line.second, line.change)
        table.add_row(*(cells if figures else cells[:-1]))
    return table
