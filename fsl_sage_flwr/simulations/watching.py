"""Watch the runs under a directory until none is at work."""

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
# Seconds for which the watching goes on when no run is at work: a sweep begins the next one.
WAIT_FOR_ANOTHER = 30.0
MOST_CURVES = 12
# The mark of a curve and the other columns of the table.
COLUMNS_BESIDE_NAMES = 62
# The table's heading, the line about the others, and one for the cursor.
OTHER_LINES = 3


def watch(
    directory: Path,
    console: Console,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
    say: Callable[[str], None] = print,
) -> list[Run]:
    """Show the runs under a directory until none is at work; return them.

    Parameters
    ----------
    directory : Path
        Directory of results.
    console : Console
        Where to show them; where it is no terminal, only the last state is printed.
    clock, pause : callable
        The seconds that have passed, and what waits for so many.
    say : callable
        Is given a line for each directory that cannot be read as a run, before the first picture.

    Raises
    ------
    ResultsError
        No run is under the directory, or none can be read.
    """
    runs = read_runs(directory, say)
    idle_since = None if _at_work(runs) else clock() - WAIT_FOR_ANOTHER
    with Live(view(runs, console), console=console, auto_refresh=False) as live:
        while idle_since is None or clock() - idle_since < WAIT_FOR_ANOTHER:
            pause(LOOK_EVERY)
            runs = read_runs(directory, lambda line: None)
            if _at_work(runs):
                idle_since = None
            elif idle_since is None:
                idle_since = clock()
            live.update(view(runs, console), refresh=True)
    if not console.is_terminal:
        console.line()  # Live ends no line there
    return runs


def view(runs: Sequence[Run], console: Console) -> ConsoleRenderable:
    """Return curves and a table of the runs at work and of those that changed last.

    There are as many of them as fit on the screen; the rest is a number.
    """
    newest = sorted(runs, key=last_change, reverse=True)
    order = sorted(newest, key=lambda run: state_of(run) != "running")
    left = console.height - OTHER_LINES
    chosen = order[: max(1, min(MOST_CURVES, left - SMALLEST[1]))]
    # By name, so that a curve keeps its colour while the runs take turns in writing.
    shown = sorted(chosen, key=lambda run: run.name)
    plot = curves(shown, console.width - 1, left - len(shown))
    names = _short([run.name for run in shown], console.width - COLUMNS_BESIDE_NAMES)
    marked = [Text.assemble(m, " ", name) for m, name in zip(marks(len(shown)), names, strict=True)]
    parts: list[ConsoleRenderable] = [plot, run_table(shown, marked)]
    if len(order) > len(shown):
        parts.append(Text(f"and {len(order) - len(shown)} more: fsl-sage runs"))
    return Group(*parts)


def _short(names: Sequence[str], room: int) -> list[str]:
    """Return names without the directories that all share; long ones lose their middle."""
    shared = os.path.commonpath([os.path.dirname(name) for name in names])
    return [_without_middle(name.removeprefix(f"{shared}/"), room) for name in names]


def _without_middle(name: str, room: int) -> str:
    if len(name) <= room:
        return name
    first = name.partition("/")[0]
    begin = f"{first}/…" if len(first) < room // 2 else "…"
    return begin + name[-max(room - len(begin), 1) :]


def _at_work(runs: Sequence[Run]) -> bool:
    return any(state_of(run) == "running" for run in runs)
