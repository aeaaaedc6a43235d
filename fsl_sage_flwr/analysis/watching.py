"""Watch the runs under a directory until none is active."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console, ConsoleRenderable, Group
from rich.live import Live
from rich.text import Text

from .load_results import Run, read_runs
from .run_state import last_change, state_of
from .run_table import run_table
from .terminal_curves import SMALLEST, curves, marks

LOOK_EVERY = 1.0
# Seconds of watching without an active run, because a sweep may start the next one.
WAIT_FOR_ANOTHER = 30.0
MOST_CURVES = 12
# Width of the mark of a curve and the table's other columns.
COLUMNS_BESIDE_NAMES = 62
# The table's heading, the line about further runs, and one for the cursor.
OTHER_LINES = 3


def watch(
    directory: Path,
    console: Console,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
    say: Callable[[str], None] = print,
) -> list[Run]:
    """Show the runs under a directory until none is active; return them.

    Parameters
    ----------
    directory : Path
        Directory of results.
    console : Console
        Console to draw on; if it is no terminal, only the last state is printed.
    clock, pause : callable
        Return the time in seconds, and wait for a number of seconds.
    say : callable
        Called with a line per directory that cannot be read as a run, before the first picture.

    Raises
    ------
    ResultsError
        The directory has no run, or no readable one.
    """
    runs = read_runs(directory, say)
    idle_since = None if _any_active(runs) else clock() - WAIT_FOR_ANOTHER
    with Live(view(runs, console), console=console, auto_refresh=False) as live:
        while idle_since is None or clock() - idle_since < WAIT_FOR_ANOTHER:
            pause(LOOK_EVERY)
            runs = read_runs(directory, lambda line: None)
            if _any_active(runs):
                idle_since = None
            elif idle_since is None:
                idle_since = clock()
            live.update(view(runs, console), refresh=True)
    if not console.is_terminal:
        console.line()  # Live ends no line there
    return runs


def view(runs: Sequence[Run], console: Console) -> ConsoleRenderable:
    """Return curves and a table of active runs and of those that changed last.

    As many runs are shown as fit on the screen; the others are counted.
    """
    newest = sorted(runs, key=last_change, reverse=True)
    order = sorted(newest, key=lambda run: state_of(run) != "running")
    left = console.height - OTHER_LINES
    chosen = order[: max(1, min(MOST_CURVES, left - SMALLEST[1]))]
    # By name, so that a curve keeps its colour when runs write in turn.
    shown = sorted(chosen, key=lambda run: run.name)
    plot = curves(shown, console.width - 1, left - len(shown))
    names = _short([run.name for run in shown], console.width - COLUMNS_BESIDE_NAMES)
    marked = [Text.assemble(m, " ", name) for m, name in zip(marks(len(shown)), names, strict=True)]
    parts: list[ConsoleRenderable] = [plot, run_table(shown, marked)]
    if len(order) > len(shown):
        parts.append(Text(f"and {len(order) - len(shown)} more: fsl-sage runs"))
    return Group(*parts)


def _short(names: Sequence[str], room: int) -> list[str]:
    """Return names without their common directories; long names lose their middle."""
    shared = os.path.commonpath([os.path.dirname(name) for name in names])
    return [_without_middle(name.removeprefix(f"{shared}/"), room) for name in names]


def _without_middle(name: str, room: int) -> str:
    if len(name) <= room:
        return name
    first = name.partition("/")[0]
    begin = f"{first}/…" if len(first) < room // 2 else "…"
    return begin + name[-max(room - len(begin), 1) :]


def _any_active(runs: Sequence[Run]) -> bool:
    return any(state_of(run) == "running" for run in runs)
