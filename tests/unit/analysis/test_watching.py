import io

import pytest
from rich.console import Console

from fsl_sage_flwr.analysis import watching
from fsl_sage_flwr.analysis.load_results import read_runs
from fsl_sage_flwr.analysis.terminal_curves import curves
from fsl_sage_flwr.analysis.watching import WAIT_FOR_ANOTHER, view, watch

from ...made_runs import make_run

BRAILLE = {chr(code) for code in range(0x2801, 0x2900)}


class Time:
    """A clock that advances on waiting, with events."""

    def __init__(self, *events):
        self.now, self.looks, self.events = 0.0, 0, list(events)

    def clock(self):
        return self.now

    def pause(self, seconds):
        self.now += seconds
        self.looks += 1
        if self.events:
            self.events.pop(0)()


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=100, height=30, force_terminal=True)


def dots(text):
    return sum(letter in BRAILLE for letter in text)


def printed(console):
    return console.file.getvalue()


@pytest.mark.slow
def test_it_shows_every_round_and_ends_with_the_last_run(tmp_path, console):
    states = [([0.2], "running"), ([0.2, 0.5], "running"), ([0.2, 0.5, 0.9], "completed")]

    def write(accuracies, status):
        make_run(tmp_path, accuracies, completed=status == "completed", status=status, run_name="a")

    write(*states[0])
    time, left_out = Time(*(lambda state=state: write(*state) for state in states[1:])), []
    (tmp_path / "history.csv").write_text("of a stranger\n", encoding="utf-8")
    (run,) = watch(tmp_path, console, time.clock, time.pause, left_out.append)
    assert run.completed
    assert left_out == []  # another program's table is not a run
    for number in ("20.00", "50.00", "90.00"):
        assert number in printed(console)
    # A sweep may begin another run, so it waits for a while.
    assert WAIT_FOR_ANOTHER < time.now < WAIT_FOR_ANOTHER + 5


@pytest.mark.slow
def test_a_sweeps_next_run_is_waited_for(tmp_path, console):
    def state(name, status):
        return lambda: make_run(tmp_path, [0.5], run_name=name, status=status,
                                completed=status == "completed")  # fmt: skip

    state("a", "running")()
    nothing = [lambda: None] * 10
    time = Time(state("a", "completed"), *nothing, state("b", "running"), *nothing,
                state("b", "completed"))  # fmt: skip
    assert [run.completed for run in watch(tmp_path, console, time.clock, time.pause)] == [True] * 2
    assert time.looks > 2 * len(nothing) + WAIT_FOR_ANOTHER


def test_where_nothing_is_at_work_it_shows_it_once(tmp_path, console):
    make_run(tmp_path, [0.5, 0.75])
    make_run(tmp_path, [], run_name="b", completed=False, status="OSError: disk")
    time = Time()
    assert len(watch(tmp_path, console, time.clock, time.pause)) == 2
    assert time.looks == 0
    assert "75.00" in printed(console)
    assert dots(printed(console)) > 20


@pytest.mark.slow
def test_without_a_terminal_only_the_end_is_printed(tmp_path):
    console = Console(file=io.StringIO(), width=100, height=30)
    make_run(tmp_path, [0.5], completed=False, status="running", run_name="a")
    time = Time(lambda: make_run(tmp_path, [0.5, 0.75], run_name="a"))
    watch(tmp_path, console, time.clock, time.pause)
    assert printed(console).count("75.00") == 2  # last and best
    assert printed(console).endswith("\n")


@pytest.mark.slow
def test_the_view_fits_and_what_runs_is_in_it(tmp_path, monkeypatch):
    console = Console(file=io.StringIO(), width=100, height=30)
    for seed in range(40):
        make_run(tmp_path, [0.5, 0.6], seed=seed, distribution="noniid_dirichlet", model="resnet18")
    last = make_run(tmp_path, [0.5], run_name="at-work", completed=False, status="running")
    monkeypatch.setattr(watching, "last_change", lambda run: -float(run.path == last))
    console.print(view(read_runs(tmp_path), console))
    lines = printed(console).splitlines()
    assert len(lines) < console.height
    assert all(len(line) <= console.width for line in lines)
    (running,) = [line for line in lines if "running" in line]
    assert "at-work" in running
    names = [line.split()[1] for line in lines if line.startswith("━━")]
    assert len(names) == 12
    assert names == sorted(names)
    assert "and 29 more: fsl-sage runs" in printed(console)


def test_a_curve_has_the_rounds_and_what_runs_are_judged_by(tmp_path):
    make_run(tmp_path, [0.25, 0.5, 0.75, 0.75])
    text = curves(read_runs(tmp_path), 60, 12).plain
    assert "test accuracy (%) over rounds" in text
    assert "75.0" in text
    assert text.splitlines()[-1].split() == ["1", "2", "3", "4"]
    make_run(tmp_path, [0.5], run_name="b", row={"test_accuracy": None})
    assert "test loss over rounds" in curves(read_runs(tmp_path), 60, 12).plain


def test_without_a_round_there_is_no_curve(tmp_path):
    make_run(tmp_path, [], completed=False, status="running")
    assert curves(read_runs(tmp_path), 60, 12).plain == ""
