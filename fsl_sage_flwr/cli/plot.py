"""``fsl-sage plot``: draw pictures of results."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal, cast

import typer
from click import UsageError

from ..analysis.choices import BANDWIDTH, FORMATS, MEAN_OF, PICTURES
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

ALL = "all"


def _some_of(valid: Sequence[str]) -> Callable[[list[str] | None], list[str] | None]:
    """Return a callback that splits values at commas, and refuses all but the valid ones."""

    def check(values: list[str] | None) -> list[str] | None:
        found = list(dict.fromkeys(name for value in values or () for name in value.split(",")))
        for name in found:
            if name not in valid:
                raise typer.BadParameter(f"{name!r} is not valid; give {', '.join(valid)}")
        return found or None

    return check


def plot_command(
    directory: Directory = RESULTS,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help=f"{', '.join(PICTURES)}, or all, which draws what the results allow; several "
            "separated by commas (default: all)",
            callback=_some_of((*PICTURES, ALL)),
        ),
    ] = None,
    target: Target = None,
    mean_of: MeanOf = MEAN_OF,
    budget_mib: BudgetMib = None,
    count: CountBytes = "measured",
    spread: SpreadOverSeeds = "deviation",
    bandwidth: Bandwidth = BANDWIDTH,
    out_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="directory to write to (default: DIR/pictures)"),
    ] = None,
    format: Annotated[
        list[str] | None,
        typer.Option(
            metavar="png,svg", help="file formats (default: both)", callback=_some_of(FORMATS)
        ),
    ] = None,
    imports: Imports = None,
) -> int:
    """Draw pictures of the completed runs under a directory, as PNG and SVG."""
    from ..analysis.load_results import load_results
    from ..analysis.pictures import draw, draw_all, encoded

    console, errors = consoles()
    comparison = comparison_of(
        load_results(directory, lambda line: say(errors, line)),
        target=target, mean_of=mean_of, budget_mib=budget_mib, count=count, spread=spread,
    )  # fmt: skip
    if kind is None or ALL in kind:
        pictures, not_drawn = draw_all(comparison, bandwidth)
    else:
        pictures, not_drawn = [draw(name, comparison, bandwidth) for name in kind], []
    folder = out_dir or directory / "pictures"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--out-dir {str(folder)!r} cannot be created: {error.strerror}"
        ) from error
    for picture in pictures:
        for suffix in format or FORMATS:
            path = folder / f"{picture.name}.{suffix}"
            write(path, encoded(picture, cast(Literal["png", "svg"], suffix)))
            say(console, str(path))
        say(console, f"    {picture.caption}")
    for note in (*comparison.notes, *not_drawn):
        say(errors, note)
    return 0
