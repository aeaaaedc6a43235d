"""What a run shows while it works."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fsl_sage_flwr.runs.directory import RunDirectory
from fsl_sage_flwr.runs.lock import training_started_file
from fsl_sage_flwr.simulations import progress
from fsl_sage_flwr.simulations.progress import RoundLines, Rows, Watcher, follow, table


def row(number: int, seconds: float = 2.0) -> dict[str, Any]:
    return {
        "round": number, "test_accuracy": 0.5, "test_loss": 1.0, "comm_bytes": 2**20 * number,
        "seconds": seconds, "failures": 0,
    }  # fmt: skip


def shown(rounds: int, upto: int) -> list[str]:
    console = Console(file=io.StringIO(), width=120)
    with RoundLines(console, rounds) as lines:
        for name in ("SuperLink", "Ray and ServerApp", "first round"):
            lines.stage(name)
        for number in range(1, upto + 1):
            lines([row(k, 60.0 if k == 1 else 2.0) for k in range(1, number + 1)])
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_stages_come_before_the_first_round_and_the_time_left_from_the_second() -> None:
    said = shown(12, 3)
    (stages,) = (line for line in said if line.startswith("started:"))
    assert re.fullmatch(
        r"started: SuperLink \d+\.\d s, Ray and ServerApp \d+\.\d s", stages.strip()
    )
    lines = [line for line in said if "/12" in line]
    assert said.index(stages) < said.index(lines[0])
    assert lines[0].rstrip().endswith("60.0")
    assert lines[1].rstrip().endswith("0:20")
    assert lines[2].rstrip().endswith("0:18")


def test_there_is_no_round_after_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    lines, seen = RoundLines(Console(file=io.StringIO()), 2), []
    monkeypatch.setattr(lines._spinner, "update", seen.append)
    lines([row(1)])
    lines([row(1), row(2)])
    assert seen == ["round 2 of 2 …", "ending …"]


@pytest.mark.slow
def test_a_run_is_followed_from_its_files(tmp_path: Path) -> None:
    run, told = RunDirectory(tmp_path), list[Any]()

    class Told(Watcher):
        def stage(self, name: str) -> None:
            told.append(name)
            if name == "data and model":
                run.write_history([], [])
            else:
                run.write_summary({"status": "running", "resumed_after": 0})
                run.append_history({"round": 1}, [])
                run.append_history({"round": 2}, [])

        def __call__(self, rows: Rows) -> None:
            told.append(len(rows))
            if len(rows) == 2:
                run.write_summary({"status": "completed", "completed": True})

    file = training_started_file(tmp_path)
    file.parent.mkdir()
    file.write_text(json.dumps({}), encoding="utf-8")
    assert follow(tmp_path, lambda: "running", Told())["completed"]
    assert told == ["data and model", "first round", 1, 2]


@pytest.mark.slow
def test_of_a_resumed_run_old_rows_are_old_and_rows_computed_again_are_new(tmp_path: Path) -> None:
    """Rounds 3 and 4 came after the checkpoint, which was written after round 2."""
    run, told = RunDirectory(tmp_path), list[Any]()
    run.write_history([row(k) for k in (1, 2, 3, 4)], [])
    run.begin_simulation({}, resumed=True)

    class Told(Watcher):
        def resumed(self, rows: Rows) -> None:
            told.append(("old", [r["round"] for r in rows]))
            run.append_history(row(3), [])

        def __call__(self, rows: Rows) -> None:
            told.append(rows[-1]["round"])
            if len(rows) == 3:
                run.append_history(row(4), [])
            else:
                run.write_summary({"status": "completed", "completed": True, "resumed_after": 2})

    def begin() -> str:
        told.append("asked")
        run.write_history([row(k) for k in (1, 2)], [])
        run.write_summary({"status": "running", "resumed_after": 2})
        return "running"

    asked = iter([False])
    follow(tmp_path, begin, Told(), is_alive=lambda: next(asked, True))
    assert told == ["asked", ("old", [1, 2]), 3, 4]


def test_a_resumed_runs_old_rows_are_said_to_be_old() -> None:
    console = Console(file=io.StringIO(), width=120)
    rows = [row(k) for k in range(1, 8)]
    with RoundLines(console, 9) as lines:
        lines.stage("SuperLink")
        lines.stage("first round")
        lines.resumed(rows[:5])
        lines(rows[:6])
        lines(rows)
    assert isinstance(console.file, io.StringIO)
    said = [line.strip() for line in console.file.getvalue().splitlines()]
    assert said[0] == "resumed after round 5; done before:"
    assert [line.split()[0] for line in said[1:]] == [
        "3/9", "4/9", "5/9", "started:", "round", "6/9", "7/9",
    ]  # fmt: skip
    assert said[-1].endswith("0:04")


@pytest.mark.slow
def test_flower_that_is_gone_is_not_waited_for(tmp_path: Path) -> None:
    gone = "finished:failed (flower-superlink is gone, with exit status -9)"
    summary = follow(tmp_path, lambda: gone, Watcher(), is_alive=lambda: False)
    assert summary == {"completed": False, "status": f"Flower says {gone}"}


def test_both_kinds_of_seconds_are_named() -> None:
    summary = {
        "final_accuracy": 0.5, "final_loss": 1.0, "best_accuracy": 0.5, "best_loss": 1.0,
        "best_round": 1, "comm_bytes": 0, "comm_bytes_reference": 0, "seconds": 4.0,
    }  # fmt: skip
    console = Console(file=io.StringIO(), width=80)
    console.print(table(summary, 9.5))
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert re.search(r"seconds of the rounds +4\.0", said)
    assert re.search(r"seconds in all +9\.5", said)


def test_a_terminal_that_is_gone_ends_no_run(tmp_path: Path) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    with RoundLines(Console(file=Gone()), 2) as lines:
        lines.stage("SuperLink")
        lines([row(1)])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ASK_FLOWER_AFTER", "ASK_FLOWER_AT_MOST_AFTER", "LOOK_EVERY"):
        monkeypatch.setattr(progress, name, 0.0)
    monkeypatch.setattr(progress.time, "sleep", lambda seconds: None)


@pytest.mark.usefixtures("impatient")
def test_only_a_status_that_says_so_ends_a_run(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write_summary({"status": "running"})
    answers = iter(["unknown", "unknown", "running", "", "finished:failed (No heartbeat)"])
    summary = follow(tmp_path, lambda: next(answers), Watcher())
    assert summary["status"] == "Flower says finished:failed (No heartbeat)"
    assert not list(answers)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("error", [OSError(116, "Stale file handle"), ValueError("half a file")])
def test_files_that_cannot_be_read_for_a_while_end_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    run = RunDirectory(tmp_path)
    run.write_summary({"status": "running"})
    reading, asked = progress._read_summary, []

    def unreadable(path: Path) -> dict[str, Any]:
        asked.append(path)
        if len(asked) < 4:
            raise error
        run.write_summary({"status": "completed", "completed": True})
        return reading(path)

    monkeypatch.setattr(progress, "_read_summary", unreadable)
    assert follow(tmp_path, lambda: "running", Watcher())["completed"]
