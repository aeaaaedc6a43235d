"""Show a sweep in the terminal: all runs, and the rounds of active runs."""

from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed

from ...analysis.summary_line import summary_line
from ...units import mib
from ..progress import Rows
from .combinations import Combination
from .sweep import Outcome


class SweepProgress:
    """Shows a bar for all runs, a bar per active run, and a line per ended run.

    Parameters
    ----------
    console : Console
        Console to print on.
    total : int
        Number of runs.
    done : int
        Number of runs already completed.
    """

    def __init__(self, console: Console, total: int, done: int) -> None:
        self._console, self._total, self._done = console, total, done
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            Elapsed(),
            console=console,
        )
        self._all = self._progress.add_task("runs", total=total, completed=done, note="")
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._progress.stop()

    def started(self, combination: Combination) -> None:
        """Add a bar for the run."""
        self._tasks[combination.label] = self._progress.add_task(
            combination.label, total=combination.config.num_server_rounds, note="starting …"
        )

    def round_done(self, combination: Combination, rows: Rows) -> None:
        """Advance the run's bar."""
        last = rows[-1]
        found = summary_line(last["test_accuracy"], last["test_loss"])
        note = f"{found}, {mib(last['comm_bytes'])} MiB"
        self._progress.update(self._tasks[combination.label], completed=last["round"], note=note)

    def ended(self, outcome: Outcome) -> None:
        """Remove the run's bar, and print a line."""
        label, summary = outcome.combination.label, outcome.summary
        self._progress.remove_task(self._tasks.pop(label))
        self._progress.advance(self._all)
        self._done += 1
        if outcome.failed:
            text = f"failed: {summary['status']}"
        else:
            found = summary_line(summary["final_accuracy"], summary["final_loss"])
            text = (
                f"{found} after {summary['rounds']} rounds, "
                f"{mib(summary['comm_bytes'])} MiB, {summary['seconds']:.0f} s"
            )
        self._console.print(
            f"{self._done}/{self._total}  {label}: {text}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
