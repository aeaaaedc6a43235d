"""Build a table of runs of every state, for the terminal."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from ..units import mib
from .comparison import one_line
from .labels import NOTHING
from .load_results import Run
from .measure import Measure, measure_of
from .run_state import State, age_of, state_of

_COLOURS: dict[State, str] = {
    "running": "cyan", "completed": "green", "failed": "red", "interrupted": "yellow",
    "lost": "magenta",
}  # fmt: skip


def run_table(runs: Sequence[Run], names: Sequence[Text] | None = None) -> Table:
    """Return one row per run.

    Parameters
    ----------
    runs : sequence of Run
        The runs, in the order of the rows.
    names : sequence of Text, optional
        Names in place of the runs' directories.
    """
    measures = [None if run.history.empty else measure_of(run.history) for run in runs]
    different = set(measures) - {None}
    # With different measures each cell names its own.
    common = next(iter(different)) if len(different) == 1 else None
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("run", overflow="fold")
    table.add_column("status", no_wrap=True)
    for heading in ("rounds", common.heading if common else "result", "best", "MiB", "age"):
        table.add_column(heading, justify="right", no_wrap=True)
    for index, (run, measure) in enumerate(zip(runs, measures, strict=True)):
        state = state_of(run)
        last, best = _figures(run, measure, named=common is None)
        table.add_row(
            names[index] if names else Text(run.name),
            Text(state, style=_COLOURS[state]),
            rounds_text(run), last, best, _mib(run), age_of(run),
        )  # fmt: skip
    return table


def reasons(runs: Sequence[Run]) -> list[str]:
    """Return one line per run that an error ended."""
    return [f"{run.name}: {one_line(run.status)}" for run in runs if state_of(run) == "failed"]


def rounds_text(run: Run) -> str:
    """Return the number of finished rounds and, if known, of all rounds: ``3/40``."""
    wanted = run.config.get("num-server-rounds")
    done = 0 if run.history.empty else int(run.history["round"].iloc[-1])
    return f"{done}" if wanted is None else f"{done}/{wanted}"


def _figures(run: Run, measure: Measure | None, *, named: bool) -> tuple[str, str]:
    """Return the run's measure after its last round and after its best one."""
    if measure is None:
        return NOTHING, NOTHING
    values = run.history[measure.column]
    last, best = float(values.iloc[-1]), measure.best(values)
    if named:
        return f"{measure.name} {measure.text(last)}", measure.text(best)
    return measure.number(last), measure.number(best)


def _mib(run: Run) -> str:
    if run.history.empty:
        return NOTHING
    return mib(run.history["comm_bytes"].iloc[-1])
