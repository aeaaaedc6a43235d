"""A simulation's SuperLink that dies in mid-run, as one does that somebody kills."""

from pathlib import Path

import psutil
import pytest

from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.simulations.federation import Federation
from fsl_sage_flwr.simulations.progress import Rows, Watcher
from fsl_sage_flwr.simulations.run import simulate

pytestmark = pytest.mark.integration


def test_the_run_ends_at_once_and_says_so(tmp_path: Path) -> None:
    class Killer(Watcher):
        def __call__(self, rows: Rows) -> None:
            mine = psutil.Process().children()
            (superlink,) = (p for p in mine if "flower-superlink" in words_of(p))
            superlink.kill()

    config = RunConfig(num_server_rounds=1000, batch_size=128, results_dir=str(tmp_path))
    summary, path = simulate(config, Federation(clients=2), Killer())
    assert not summary["completed"]
    assert "flower-superlink is gone, with exit status -9" in summary["status"]
    assert (path / "checkpoints" / "latest.pt").exists()
    left = [p for p in psutil.process_iter() if _is_of(p, path)]
    assert not left


def words_of(process: psutil.Process) -> str:
    """Return a process's command line; other tests leave some that have ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _is_of(process: psutil.Process, run: Path) -> bool:
    try:
        return str(run) in " ".join(process.cmdline()) or str(run) in process.environ().values()
    except psutil.Error:
        return False
