import io
from pathlib import Path

from rich.console import Console

from fsl_sage_flwr.simulations.sweeps import Outcome, combinations
from fsl_sage_flwr.simulations.sweeps.progress import SweepProgress

ONE, TWO = combinations([{"seed": [1, 2], "num-server-rounds": 4}])
ROW = {"round": 3, "test_accuracy": 0.5, "test_loss": 1.0, "comm_bytes": 3 * 2**20}
DONE = {
    "completed": True, "final_accuracy": 0.75, "final_loss": 1.0, "rounds": 4,
    "comm_bytes": 2**20, "seconds": 9.6,
}  # fmt: skip


def shown(terminal, act):
    console = Console(record=True, width=100, force_terminal=terminal, file=io.StringIO())
    with SweepProgress(console, total=3, done=1) as progress:
        act(progress)
    return console.export_text()


def test_a_line_is_left_for_each_run_that_ended():
    def act(progress):
        for run in (ONE, TWO):
            progress.started(run)
        progress.ended(Outcome(TWO, None, {"completed": False, "status": "[no] room"}))
        progress.ended(Outcome(ONE, Path("/x"), DONE))

    lines = shown(False, act).splitlines()
    assert lines[0] == "2/3  seed=2: failed: [no] room"
    assert lines[1] == "3/3  seed=1: 75.00 % after 4 rounds, 1.0 MiB, 10 s"
    assert "3/3" in lines[-1]


def test_rounds_of_the_runs_at_work_are_shown():
    def act(progress):
        progress.started(ONE)
        progress.round_done(ONE, [ROW])

    text = shown(True, act)
    assert "seed=1" in text
    assert "3/4" in text
    assert "50.00 %, 3.0 MiB" in text
    assert "1/3" in text
