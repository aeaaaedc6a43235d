"""``fsl-sage report``: write one HTML page."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from ..analysis.choices import BANDWIDTH, MEAN_OF
from .comparison import (
    Bandwidth,
    BudgetMib,
    CountBytes,
    MeanOf,
    SpreadOverSeeds,
    Target,
    comparison_of,
)
from .options import RESULTS, Directory, Imports
from .printing import consoles, say, write


def report_command(
    directory: Directory = RESULTS,
    target: Target = None,
    mean_of: MeanOf = MEAN_OF,
    budget_mib: BudgetMib = None,
    count: CountBytes = "measured",
    spread: SpreadOverSeeds = "deviation",
    bandwidth: Bandwidth = BANDWIDTH,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="file to write (default: DIR/report.html)"),
    ] = None,
    imports: Imports = None,
) -> int:
    """Write one HTML page with tables, pictures and every run.

    The page is self-contained. It has tables, pictures, settings, and each run's configuration
    with the command that repeats it.
    """
    from ..analysis.load_results import read_runs, rows_of
    from ..analysis.report import report_page

    console, errors = consoles()
    runs = read_runs(directory, lambda line: say(errors, line))
    comparison = comparison_of(
        rows_of(runs), target=target, mean_of=mean_of, budget_mib=budget_mib, count=count,
        spread=spread,
    )  # fmt: skip
    page = report_page(directory, runs, comparison, bandwidth, datetime.now().astimezone())
    path = out or directory / "report.html"
    write(path, page.encode())
    say(console, str(path))
    for note in comparison.notes:
        say(errors, note)
    return 0
