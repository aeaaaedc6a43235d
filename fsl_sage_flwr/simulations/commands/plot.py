"""``fsl-sage plot``: pictures of results."""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from ...app.config import ConfigError
from ..load_results import load_results
from .options import add_bandwidth_option, add_comparison_options, comparison_of, say, write

ALL = "all"
# The names in `pictures.KINDS`, which is not imported here because matplotlib takes a second.
KIND_NAMES = (
    "accuracy-communication", "accuracy-rounds", "loss-communication", "loss-rounds",
    "accuracy-alpha", "scatter-alpha", "time", "align-interval", "head-size",
    "alignment-rounds", "bytes-rounds",
)  # fmt: skip
FORMATS = ("png", "svg")


def add_plot_command(commands: Any) -> None:
    """Add this command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "plot",
        help="pictures of results",
        description="Draw the completed runs under a directory, as PNG and SVG.",
    )
    add_comparison_options(parser)
    add_bandwidth_option(parser)
    parser.add_argument(
        "--kind", choices=(*KIND_NAMES, ALL), nargs="+", action="extend", metavar="KIND",
        help=f"{', '.join(KIND_NAMES)}, or all, which draws what the results allow (all)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="DIR", help="output directory (DIR/pictures)")
    parser.add_argument(
        "--format", type=_formats, default=FORMATS, metavar="png,svg", help="file formats (png,svg)"
    )
    parser.set_defaults(command=_plot)


def _plot(options: argparse.Namespace, console: Console, errors: Console) -> int:
    from ..pictures import draw, draw_all, encoded

    comparison = comparison_of(options, load_results(options.directory))
    chosen = options.kind or [ALL]
    if ALL in chosen:
        pictures, not_drawn = draw_all(comparison, options.bandwidth)
    else:
        kinds = dict.fromkeys(chosen)
        pictures, not_drawn = [draw(kind, comparison, options.bandwidth) for kind in kinds], []
    folder = options.out or options.directory / "pictures"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {str(folder)!r} cannot be made: {error.strerror}") from error
    for picture in pictures:
        for suffix in options.format:
            path = folder / f"{picture.name}.{suffix}"
            write(path, encoded(picture, suffix))
            say(console, str(path))
        say(console, f"    {picture.caption}")
    for note in (*comparison.notes, *not_drawn):
        say(errors, note)
    return 0


def _formats(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(text.split(",")))
    if not set(found) <= set(FORMATS):
        raise argparse.ArgumentTypeError(f"{text!r}: valid are png, svg and png,svg")
    return found
