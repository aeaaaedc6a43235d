"""The commands of ``examples/docker/compose.yml``: a run, in the middle of which one restarts."""

from pathlib import Path
from typing import Any

import pytest

from .commands import history_of, run_directory, summary_of
from .compose import Composed

pytestmark = [pytest.mark.integration, pytest.mark.slow]
CONFIG: dict[str, Any] = {"algorithm": "cse_fsl", "batch_size": 180}


def test_a_run_on_the_composed_services(tmp_path: Path) -> None:
    results = tmp_path / "results"
    with Composed(tmp_path) as deployment:
        run = deployment.run(**CONFIG, num_server_rounds=2, results_dir=str(results))
        assert deployment.finish(run) == "finished:completed", deployment.logs()
        assert {name: one.poll() for name, one in deployment.services.items()} == dict.fromkeys(
            deployment.services
        )
        assert (tmp_path / "state" / "state.db").is_file()
    found = run_directory(results)
    assert summary_of(found)["completed"] is True
    assert history_of(found)["clients"].tolist() == [2, 2]
