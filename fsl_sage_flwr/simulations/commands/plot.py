"""``fsl-sage plot``: draw pictures of results."""

import argparse

from rich.console import Console

from ...analysis.load_results import load_results
from ...app.config import ConfigError
from ...command_line.arguments.plot import ALL
from .options import comparison_of, write
from .printing import say


def plot_command(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """Draw pictures."""
    from ...analysis.pictures import draw, draw_all, encoded

    comparison = comparison_of(
        options, load_results(options.directory, lambda line: say(errors, line))
    )
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
        raise ConfigError(f"--out {str(folder)!r} cannot be created: {error.strerror}") from error
    for picture in pictures:
        for suffix in options.format:
            path = folder / f"{picture.name}.{suffix}"
            write(path, encoded(picture, suffix))
            say(console, str(path))
        say(console, f"    {picture.caption}")
    for note in (*comparison.notes, *not_drawn):
        say(errors, note)
    return 0
