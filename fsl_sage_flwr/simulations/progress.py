"""Show the progress of a run from its files."""

import csv
import io
import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any, Self

from rich.console import Console
from rich.table import Table

from ..analysis.summary_line import summary_line
from ..runs.directory import RunDirectory
from ..runs.lock import training_started_file
from ..units import mib, percent

LOOK_EVERY = 0.2
# Seconds without progress before Flower is asked whether the run has ended. The time doubles after
# each request, because a request starts a process that takes some CPU-seconds.
ASK_FLOWER_AFTER, ASK_FLOWER_AT_MOST_AFTER = 15.0, 240.0

HEADER = (
    f"{'round':>9}  {'accuracy':>8}  {'loss':>7}  {'MiB so far':>10}  {'seconds':>7}  time left"
)


Rows = list[dict[str, Any]]

# Number of earlier rounds that a resumed run prints.
OLD_ROWS = 3

# Next stage of a ServerApp after each file.
STAGES = (
    ("data and model", training_started_file),
    ("first round", RunDirectory.history_of),
)


def follow(
    path: Path,
    status: Callable[[], str],
    watcher: "Watcher",
    stop: Event | None = None,
    is_alive: Callable[[], bool] = lambda: True,
) -> dict[str, Any]:
    """Watch a run until it has ended; return its summary.

    Parameters
    ----------
    path : Path
        The run's directory, which may not exist yet.
    status : callable
        Asks Flower for the run's status. It starts with ``finished`` if the run has ended; a run
        without a summary has then failed, and Flower's text is its status. Other answers are
        ignored.
    watcher : Watcher
        Receives stages and rounds.
    stop : Event, optional
        Set by another thread to stop watching.
    is_alive : callable, optional
        Returns whether Flower's process is alive; if not, the status is requested at once.

    Raises
    ------
    KeyboardInterrupt
        ``stop`` was set.
    """
    shown, heard, patience = 0, time.monotonic(), ASK_FLOWER_AFTER
    began = time.time()
    stages = list(STAGES)
    history, rows = RunDirectory.history_of(path), Rows()
    read: tuple[int, int] | None = None
    summary: dict[str, Any] = {}
    resumed_after: int | None = None
    while True:
        while stages and _written_since(began, stages[0][1](path)):
            watcher.stage(stages.pop(0)[0])
        # A file that is unreadable now, on a network disk, may be readable the next time.
        with suppress(OSError, ValueError):
            summary = _read_summary(path)
            resumed_after = summary.get("resumed_after", resumed_after)
            written = _version_of(history)
            # Before the recorder starts, the history is that of an earlier part of the run.
            if resumed_after is not None and written != read:
                rows, read = _read_rows(history), written
                old = sum(row["round"] <= resumed_after for row in rows)
                if old > shown:
                    shown = old
                    watcher.resumed(rows[:old])
        while shown < len(rows):
            shown += 1
            watcher(rows[:shown])
            heard, patience = time.monotonic(), ASK_FLOWER_AFTER
        if summary.get("status", "running") != "running":
            return summary
        if stop is not None and stop.is_set():
            raise KeyboardInterrupt
        if not is_alive() or time.monotonic() - heard > patience:
            heard, patience = time.monotonic(), min(2 * patience, ASK_FLOWER_AT_MOST_AFTER)
            answer = status()
            if answer.startswith("finished"):
                time.sleep(1.0)
                with suppress(OSError, ValueError):
                    summary = _read_summary(path)
                if summary.get("status", "running") == "running":
                    return {**summary, "completed": False, "status": f"Flower says {answer}"}
        time.sleep(LOOK_EVERY)


class Watcher:
    """Receives a run's progress; this base class ignores it."""

    def stage(self, name: str) -> None:
        """Receive the stage of a run before the end of its first round."""

    def resumed(self, rows: Rows) -> None:
        """Receive the rows of the rounds before a resumed checkpoint."""

    def __call__(self, rows: Rows) -> None:
        """Receive the rows of the history after every round, including earlier ones."""


class RoundLines(Watcher):
    """Prints one line per round in the terminal, and the current activity below them.

    Parameters
    ----------
    console : Console
        Console to print on.
    num_rounds : int
        Number of rounds of the run.
    spinner : bool
        Show the current activity. It would overwrite the prompt of a debugger in this process.
    """

    def __init__(self, console: Console, num_rounds: int, *, spinner: bool = True) -> None:
        self._console, self._num_rounds = console, num_rounds
        quiet = console if spinner else Console(quiet=True)
        self._spinner = quiet.status("")
        self._stages: list[tuple[str, float]] = []
        self._old = 0

    def __enter__(self) -> Self:
        self._spinner.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        with suppress(OSError):
            self._spinner.__exit__(*error)

    def stage(self, name: str) -> None:
        """Show the current stage."""
        self._stages.append((name, time.monotonic()))
        self._spinner.update(f"{name} …")

    def resumed(self, rows: Rows) -> None:
        """Print the last of the earlier rows, dimmed."""
        self._old = len(rows)
        last = rows[-OLD_ROWS:]
        self._console.print(f"resumed after round {last[-1]['round']}; done before:", style="dim")
        for row in last:
            line = _line(row, self._num_rounds)
            self._console.print(line, style="dim", highlight=False)

    def __call__(self, rows: Rows) -> None:
        """Print the line of the last row.

        A closed terminal (a shell's ``disown``) does not end the run.
        """
        with suppress(OSError):
            self._print(rows)

    def _print(self, rows: Rows) -> None:
        new = rows[self._old :]
        if len(new) == 1:
            self._print_stages()
            self._console.print(HEADER, style="bold", highlight=False)
        self._console.print(_line(rows[-1], self._num_rounds, new), highlight=False)
        ended = rows[-1]["round"] >= self._num_rounds
        doing = "ending" if ended else f"round {rows[-1]['round'] + 1} of {self._num_rounds}"
        self._spinner.update(f"{doing} …")

    def _print_stages(self) -> None:
        ends = [begun for _, begun in self._stages[1:]]
        took = [
            f"{name} {end - begun:.1f} s"
            for (name, begun), end in zip(self._stages, ends, strict=False)
        ]
        if took:
            self._console.print(f"started: {', '.join(took)}", highlight=False, soft_wrap=True)


def table(summary: dict[str, Any], seconds_in_all: float) -> Table:
    """Return the short table printed at the end of a run.

    Parameters
    ----------
    summary : dict
        The run's summary.
    seconds_in_all : float
        Seconds since the start of the command.
    """
    result = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    what = "loss" if summary["final_accuracy"] is None else "accuracy"
    final, best = (
        summary_line(summary[f"{which}_accuracy"], summary[f"{which}_loss"]).removeprefix("loss ")
        for which in ("final", "best")
    )
    result.add_row(f"final test {what}", final)
    result.add_row(f"best test {what}", f"{best} (round {summary['best_round']})")
    for name, figure in summary.get("figures", {}).items():
        result.add_row(name, f"{figure:.2f}")
    result.add_row("communication", f"{mib(summary['comm_bytes'])} MiB")
    reference = f"{mib(summary['comm_bytes_reference'])} MiB"
    result.add_row("as the paper counts it", reference)
    result.add_row("seconds of the rounds", f"{summary['seconds']:.1f}")
    result.add_row("seconds in all", f"{seconds_in_all:.1f}")
    return result


def _written_since(began: float, file: Path) -> bool:
    try:
        return file.stat().st_mtime >= began - 1
    except OSError:
        return False


def _read_summary(path: Path) -> dict[str, Any]:
    file = RunDirectory.summary_of(path)
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _version_of(file: Path) -> tuple[int, int] | None:
    """Return a file's time and size: reading rows takes a hundred times as long."""
    if not file.is_file():
        return None
    found = file.stat()
    return found.st_mtime_ns, found.st_size


def _read_rows(file: Path) -> Rows:
    if not file.is_file():
        return []
    text = file.read_text(encoding="utf-8")
    if not text.endswith("\n"):  # a row is being written
        return []
    # Not with pandas, which takes half a second to import.
    return [
        {key: _number(value) for key, value in row.items()}
        for row in csv.DictReader(io.StringIO(text))
    ]


def _number(text: str) -> int | float | str:
    """Return a cell's number; NaN for an empty cell, and other text as it is."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text or "nan")
    return text


def _line(row: dict[str, Any], num_rounds: int, new: Sequence[dict[str, Any]] = ()) -> str:
    """Return a round's line; ``new`` are this process's rows so far, for the time left."""
    recent = [r["seconds"] for r in new[1:][-10:]] or [row["seconds"]]
    # The first round includes the start of the clients' processes, so it is not representative.
    known = len(new) > 1 or (bool(new) and num_rounds == row["round"])
    left = (num_rounds - row["round"]) * sum(recent) / len(recent)
    accuracy = "" if math.isnan(row["test_accuracy"]) else percent(row["test_accuracy"])
    line = (
        f"{row['round']:>5}/{num_rounds:<3}  {accuracy:>8}  "
        f"{row['test_loss']:>7.4f}  {mib(row['comm_bytes']):>10}  "
        f"{row['seconds']:>7.1f}  {_duration(left) if known else ''}"
    )
    return line if row["failures"] == 0 else f"{line}  ({row['failures']} clients failed)"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
