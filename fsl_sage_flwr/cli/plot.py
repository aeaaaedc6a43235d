"""``fsl-sage plot``: draw pictures of results."""

from typing import Annotated

import typer

from ..analysis.choices import BANDWIDTH, MEAN_OF, PICTURES, BytesScale
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
from .pictures import Formats, OutDir, picture_folder, some_of, write_picture
from .printing import consoles, say

ALL = "all"


def plot_command(
    directory: Directory = RESULTS,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help=f"{', '.join(PICTURES)}, or all, which draws what the results allow; several "
            "separated by commas (default: all)",
            callback=some_of((*PICTURES, ALL)),
        ),
    ] = None,
    x: Annotated[
        str | None,
        typer.Option(
            metavar="AXIS",
            help="round, bytes, seconds, hours or joules of the virtual clock, client or a key, "
            "against which --y is drawn, in place of the kinds (default with --y: round)",
        ),
    ] = None,
    y: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="column of history.csv; of clients.csv if --x is client; or a figure of the table "
            "of results if it is a key (default with --x: accuracy, or seconds of clients)",
        ),
    ] = None,
    target: Target = None,
    mean_of: MeanOf = MEAN_OF,
    budget_mib: BudgetMib = None,
    count: CountBytes = "measured",
    spread: SpreadOverSeeds = "deviation",
    bandwidth: Bandwidth = BANDWIDTH,
    bytes_scale: Annotated[
        BytesScale,
        typer.Option(
            help="scale of an axis of bytes; auto is log where algorithms differ by more than 5 "
            "times"
        ),
    ] = "auto",
    out_dir: OutDir = None,
    format: Formats = None,
    imports: Imports = None,
) -> int:
    """Draw pictures of the completed runs under a directory, as PNG, SVG and PDF."""
    from ..analysis.load_results import load_results
    from ..analysis.pictures import draw, draw_all, draw_xy

    console, errors = consoles()
    comparison = comparison_of(
        load_results(directory, lambda line: say(errors, line)),
        target=target, mean_of=mean_of, budget_mib=budget_mib, count=count, spread=spread,
    )  # fmt: skip
    pair = [] if x is y is None else [draw_xy(comparison, x or "round", y, bytes_scale)]
    if ALL in (kind or ([] if pair else [ALL])):
        pictures, not_drawn = draw_all(comparison, bandwidth, bytes_scale)
    else:
        pictures, not_drawn = [draw(k, comparison, bandwidth, bytes_scale) for k in kind or ()], []
    pictures += pair
    folder = picture_folder(directory, out_dir)
    for picture in pictures:
        for path in write_picture(picture, folder, format):
            say(console, str(path))
        say(console, f"    {picture.caption}")
    for note in (*comparison.notes, *not_drawn):
        say(errors, note)
    return 0
