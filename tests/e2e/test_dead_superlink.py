"""A simulation's SuperLink that is killed in mid-run."""

from pathlib import Path

import pytest

from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.simulations.federation import Federation
from fsl_sage_flwr.simulations.progress import Rows, Watcher
from fsl_sage_flwr.simulations.run import simulate

from .commands import kill_started_by, started_by

pytestmark = pytest.mark.e2e


@pytest.mark.usefixtures("forked")
def test_the_run_ends_at_once_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSL_SAGE_TEST_MARK", str(tmp_path))

    class Killer(Watcher):
        def __call__(self, rows: Rows) -> None:
            # A round that was written before the end was noticed is shown too: none is left then.
            kill_started_by(str(tmp_path), command="flower-superlink")

    config = RunConfig(num_server_rounds=1000, batch_size=128, results_dir=str(tmp_path))
    summary, path = simulate(config, Federation(clients=2, cpus=1), Killer())
    assert not summary["completed"]
    assert "flower-superlink is gone, with exit status -9" in summary["status"]
    assert (path / "checkpoints" / "latest.pt").exists()
    assert not started_by(str(tmp_path))
