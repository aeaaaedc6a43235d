"""The commands of ``examples/docker/compose.yml``: a run, in which the SuperLink is killed."""

from pathlib import Path

import pytest

from .commands import history_of, run_directory, summary_of
from .compose import LINK, SERVICES, Composed
from .deployment import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.first]


NODES = [name for name in SERVICES if name.startswith("supernode")]


def rounds(results: Path) -> int:
    files = list(results.rglob("history.csv"))
    return len(files[0].read_text(encoding="utf-8").splitlines()) - 1 if files else 0


def test_a_run_outlives_its_superlink_which_has_a_database(tmp_path: Path) -> None:
    """The ServerApp is another container's: it asks again until the SuperLink is back.

    Killed while clients train. While the ServerApp sends, Flower's push session is lost with
    the SuperLink, and the run ends with an ``ObjectPushError``: docs/reference/faults.md.
    """
    results = tmp_path / "results"
    with Composed(tmp_path) as deployment:
        run = deployment.run(
            algorithm="cse_fsl", batch_size=180, num_server_rounds=3, results_dir=str(results)
        )
        wait_for("a round", lambda: rounds(results) >= 1)
        second = "Received successfully"  # who they are is asked first, then round 1
        wait_for("round 2 at the nodes", lambda: deployment.logs().count(second) >= 3 * len(NODES))
        deployment.kill(deployment.services[LINK])
        assert rounds(results) < 3
        deployment.start_service(LINK)
        assert deployment.finish(run) == "finished:completed", deployment.logs()
        ended = {name: one.poll() for name, one in deployment.services.items()}
        assert ended == dict.fromkeys(deployment.services)
    found = run_directory(results)
    assert summary_of(found)["completed"] is True
    assert history_of(found)["clients"].tolist() == [2, 2, 2]
    assert history_of(found)["failures"].tolist() == [0, 0, 0]
