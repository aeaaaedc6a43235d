"""A ServerApp that is killed, again and again, and resumed: the same run."""

import json
import multiprocessing
import random
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from fsl_sage_flwr.runs.checkpoint import read_checkpoint
from fsl_sage_flwr.runs.checkpoint_files import names_in, tensors_of

from . import killable
from .commands import history_of, run_directory

pytestmark = pytest.mark.e2e

KILLS = 2


def start(config: dict[str, Any]) -> ForkServerProcess:
    """Start a run, in a fork of a process that has imported all libraries once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([killable.__name__])
    process = context.Process(target=killable.train, args=(config,))
    process.start()
    return process


def ended(process: ForkServerProcess) -> int | None:
    """Wait for the end of a run; return its exit code."""
    process.join(300)
    return process.exitcode


# One server half with heads, and a server half per client: what there is to lose.
@pytest.mark.parametrize("algorithm", ["fsl_sage", "sl_multi_server"])
def test_killed_at_random_points_and_resumed_it_is_the_same_run(
    tmp_path: Path, few_digits: str, algorithm: str
) -> None:
    config: dict[str, Any] = {
        "algorithm": algorithm, "dataset": few_digits, "batch-size": 10, "align.interval": 2,
        "num-server-rounds": 15, "keep-optimizer-state": False, "run-name": "it",
    }  # fmt: skip
    whole = {**config, "results-dir": str(tmp_path / "whole")}
    assert ended(start(whole)) == 0

    draw, latest, killed = random.Random(algorithm), None, 0
    for attempt in range(KILLS + 1):
        # In another directory, and in its own.
        results = tmp_path / f"part{(attempt + 1) // 2}"
        process = start({**config, "results-dir": str(results), "resume": str(latest or "")})
        if attempt == KILLS:
            assert ended(process) == 0
            break
        # Anywhere in the next few rounds: between two, in one, in a write.
        before = _rounds(results)
        while process.is_alive() and _rounds(results) <= before:
            time.sleep(0.01)
        time.sleep(draw.random())
        process.kill()
        killed += ended(process) != 0
        checkpoint = run_directory(results) / "checkpoints" / "latest.pt"
        if checkpoint.exists():
            read_checkpoint(checkpoint)  # whole with all its files, whenever it was
            latest = checkpoint
            if json.loads((run_directory(results) / "summary.json").read_text(encoding="utf-8"))[
                "completed"
            ]:
                break
    assert killed > 0
    checkpoint = run_directory(results) / "checkpoints" / "latest.pt"
    named = set().union(*(names_in(file) for file in checkpoint.parent.glob("*.pt")))
    assert {path.name for path in tensors_of(checkpoint).glob("*")} == named
    one, other = run_directory(tmp_path / "whole"), run_directory(results)
    ours, theirs = history_of(one), history_of(other)
    # Heads are sent again after a restart, and nodes asked again who they are.
    same = [column for column in ours if "bytes" not in column]
    assert ours[same].equals(theirs[same])
    left, right = (torch.load(run / "full_model.pt", weights_only=True) for run in (one, other))
    assert all(torch.equal(left[name], right[name]) for name in left)


def _rounds(results: Path) -> int:
    files = list(results.rglob("history.csv"))
    return len(files[0].read_text(encoding="utf-8").splitlines()) - 1 if files else 0
