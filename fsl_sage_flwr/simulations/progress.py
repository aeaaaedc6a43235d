"""Show the progress of a run, from the files that it writes."""

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

from ..app.results import RunDirectory
from ..app.run_lock import claimed_by_training
from .headline import headline

LOOK_EVERY = 0.2
# Seconds without news before Flower is asked whether the run has died. The time doubles with each
# question, because a question starts a new process that takes some CPU-seconds.
ASK_FLOWER_AFTER, ASK_FLOWER_AT_MOST_AFTER = 15.0, 240.0

HEADER = (
    f"{'round':>9}  {'accuracy':>8}  {'loss':>7}  {'MiB so far':>10}  {'seconds':>7}  time left"
)


Rows = list[dict[str, Any]]

# Rows of earlier rounds that a resumed run prints.
OLD_ROWS = 3

# What a ServerApp does next when it has written a file.
STAGES = (
    ("data and model", claimed_by_training),
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
        The run's directory; it need not exist yet.
    status : callable
        Asks Flower for the run's status. It begins with ``finished`` if the run has ended; if
        it wrote no summary, it failed, and Flower's words are all that is known. Any other answer
        ends nothing.
    watcher : Watcher
        Is told of stages and rounds.
    stop : Event, optional
        Another thread sets this to stop the watching.
    is_alive : callable, optional
        Tells, without asking it, whether Flower is there; if not, its status is asked for at once.

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
        # A file that cannot be read now (a network's disk) may be readable the next time.
        with suppress(OSError, ValueError):
            summary = _read_summary(path)
            resumed_after = summary.get("resumed_after", resumed_after)
            written = _version_of(history)
            # Until the recorder has begun, the history is that of an earlier part of the run.
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
    """Is told what a run does; this one does nothing with it."""

    def stage(self, name: str) -> None:
        """Be told what a run begins with, before its first round has ended."""

    def resumed(self, rows: Rows) -> None:
        """Be told the rows of the rounds that a resumed run had done before."""

    def __call__(self, rows: Rows) -> None:
        """Be told after every round, with the rows of the history so far, old ones included."""


class RoundLines(Watcher):
    """Prints one line per round in the terminal, and below them what the run is doing.

    Parameters
    ----------
    console : Console
        Where to print.
    num_rounds : int
        Number of rounds of the run.
    """

    def __init__(self, console: Console, num_rounds: int) -> None:
        self._console, self._num_rounds = console, num_rounds
        self._spinner = console.status("")
        self._stages: list[tuple[str, float]] = []
        self._old = 0

    def __enter__(self) -> Self:
        self._spinner.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        with suppress(OSError):
            self._spinner.__exit__(*error)

    def stage(self, name: str) -> None:
        """Show what the run begins with."""
        self._stages.append((name, time.monotonic()))
        self._spinner.update(f"{name} …")

    def resumed(self, rows: Rows) -> None:
        """Print the last of the old rows, dimmed."""
        self._old = len(rows)
        last = rows[-OLD_ROWS:]
        self._console.print(f"resumed after round {last[-1]['round']}; done before:", style="dim")
        for row in last:
            line = _line(row, self._num_rounds)
            self._console.print(line, style="dim", highlight=False)

    def __call__(self, rows: Rows) -> None:
        """Print the line of the last row.

        A terminal that is gone (a shell's ``disown``) ends no run.
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
    """Return the short table that is printed at the end of a run.

    Parameters
    ----------
    summary : dict
        The run's.
    seconds_in_all : float
        Since the command was given.
    """
    result = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    what = "loss" if summary["final_accuracy"] is None else "accuracy"
    final, best = (
        headline(summary[f"{which}_accuracy"], summary[f"{which}_loss"]).removeprefix("loss ")
        for which in ("final", "best")
    )
    result.add_row(f"final test {what}", final)
    result.add_row(f"best test {what}", f"{best} (round {summary['best_round']})")
    for name, figure in summary.get("figures", {}).items():
        result.add_row(name, f"{figure:.2f}")
    result.add_row("communication", f"{summary['comm_bytes'] / 2**20:.1f} MiB")
    reference = f"{summary['comm_bytes_reference'] / 2**20:.1f} MiB"
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
    """Return what changes when a file does: reading rows takes a hundred times as long."""
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
    import pandas as pd

    frame = pd.read_csv(io.StringIO(text))
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _line(row: dict[str, Any], num_rounds: int, new: Sequence[dict[str, Any]] = ()) -> str:
    """Return a round's line; ``new`` are this process's rows so far, for the time that is left."""
    recent = [r["seconds"] for r in new[1:][-10:]] or [row["seconds"]]
    # The first round waits for the clients' processes to start: it says nothing of the others.
    known = len(new) > 1 or (bool(new) and num_rounds == row["round"])
    left = (num_rounds - row["round"]) * sum(recent) / len(recent)
    accuracy = "" if math.isnan(row["test_accuracy"]) else f"{row['test_accuracy']:.2%}"
    line = (
        f"{row['round']:>5}/{num_rounds:<3}  {accuracy:>8}  "
        f"{row['test_loss']:>7.4f}  {row['comm_bytes'] / 2**20:>10.1f}  "
        f"{row['seconds']:>7.1f}  {_duration(left) if known else ''}"
    )
    return line if row["failures"] == 0 else f"{line}  ({row['failures']} clients failed)"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
