"""``fsl-sage results``: print a table of results, or all rows."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..analysis.choices import MEAN_OF
from .comparison import BudgetMib, CountBytes, MeanOf, SpreadOverSeeds, Target, comparison_of
from .options import RESULTS, Directory, Imports
from .printing import consoles, say, write


def results_command(
    directory: Directory = RESULTS,
    target: Target = None,
    mean_of: MeanOf = MEAN_OF,
    budget_mib: BudgetMib = None,
    count: CountBytes = "measured",
    spread: SpreadOverSeeds = "deviation",
    format: Annotated[
        Literal["markdown", "csv", "latex"],
        typer.Option(help="format of the table; csv has unformatted numbers"),
    ] = "markdown",
    rounds: Annotated[
        bool,
        typer.Option(
            "--rounds",
            help="print every round of every run with all its settings as CSV, instead of the "
            "table",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="file to write (default: the terminal)")
    ] = None,
    imports: Imports = None,
) -> int:
    """Print a table of the completed runs under a directory.

    It has a row per setting, with mean and standard deviation over the seeds.
    """
    from ..analysis.load_results import load_results
    from ..analysis.result_table import format_table

    console, errors = consoles()
    rows = load_results(directory, lambda line: say(errors, line))
    notes: tuple[str, ...] = ()
    if rounds:
        text = rows.to_csv(index=False)
    else:
        comparison = comparison_of(
            rows, target=target, mean_of=mean_of, budget_mib=budget_mib, count=count,
            spread=spread,
        )  # fmt: skip
        text, notes = format_table(comparison, format), comparison.notes
    if out is None:
        say(console, text, end="")
    else:
        write(out, text.encode())
        say(console, str(out))
    for note in notes:
        say(errors, note)
    return 0
