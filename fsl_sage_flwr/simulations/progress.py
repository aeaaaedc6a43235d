"""Show a run while it goes on, from what it writes."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from ..results import RunDirectory

LOOK_EVERY = 0.2
ASK_FLOWER_EVERY = 15.0

HEADER = (
    f"{'round':>9}  {'accuracy':>8}  {'loss':>7}  {'MiB so far':>10}  {'seconds':>7}  time left"
)


def follow(
    path: Path, num_rounds: int, status: Callable[[], str], console: Console
) -> dict[str, Any]:
    """Print a line per round until the run has ended; return its summary.

    Parameters
    ----------
    path : Path
        The run's directory; it need not exist yet.
    num_rounds : int
        Rounds in all.
    status : callable
        Asks Flower for the run's status, which ends with ``failed`` when it broke without
        a word to us.
    console : Console
        Where to.
    """
    shown, asked = 0, time.monotonic()
    with console.status("starting Flower and Ray …") as spinner:
        while True:
            summary = _read_summary(path)
            rows = _read_rows(path)
            for row in rows[shown:]:
                if shown == 0:
                    console.print(HEADER, style="bold", highlight=False)
                shown += 1
                console.print(_line(row, num_rounds, rows[:shown]), highlight=False)
                spinner.update(f"round {row['round'] + 1} of {num_rounds} …")
            if summary.get("status", "running") != "running":
                return summary
            if time.monotonic() - asked > ASK_FLOWER_EVERY:
                asked = time.monotonic()
                answer = status()
                if answer.startswith("finished"):
                    time.sleep(1.0)
                    late = _read_summary(path)
                    if late.get("status", "running") == "running":
                        return {**late, "completed": False, "status": f"Flower says {answer}"}
            time.sleep(LOOK_EVERY)


def table(summary: dict[str, Any]) -> Table:
    """Return the short table that a run ends with."""
    result = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    result.add_row("final test accuracy", f"{summary['final_accuracy']:.2%}")
    result.add_row(
        "best test accuracy", f"{summary['best_accuracy']:.2%} (round {summary['best_round']})"
    )
    result.add_row("communication", f"{summary['comm_bytes'] / 2**20:.1f} MiB")
    reference = f"{summary['comm_bytes_reference'] / 2**20:.1f} MiB"
    result.add_row("as the paper counts it", reference)
    result.add_row("seconds", f"{summary['seconds']:.1f}")
    return result


def _read_summary(path: Path) -> dict[str, Any]:
    file = RunDirectory.summary_of(path)
    return json.loads(file.read_text()) if file.is_file() else {}


def _read_rows(path: Path) -> list[dict[str, Any]]:
    file = RunDirectory.history_of(path)
    if not file.is_file():
        return []
    text = file.read_text()
    if not text.endswith("\n"):  # a row is being written
        return []
    frame = pd.read_csv(file)
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _line(row: dict[str, Any], num_rounds: int, so_far: list[dict[str, Any]]) -> str:
    recent = [r["seconds"] for r in so_far[1:][-10:]] or [row["seconds"]]
    left = (num_rounds - row["round"]) * sum(recent) / len(recent)
    line = (
        f"{row['round']:>5}/{num_rounds:<3}  {row['test_accuracy']:>8.2%}  "
        f"{row['test_loss']:>7.4f}  {row['comm_bytes'] / 2**20:>10.1f}  "
        f"{row['seconds']:>7.1f}  {_duration(left)}"
    )
    return line if row["failures"] == 0 else f"{line}  ({row['failures']} clients failed)"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
