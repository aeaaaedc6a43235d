"""Clients that break on a real SuperLink: what the run does, and that nothing is half-applied."""

from pathlib import Path
from typing import Any

import pytest
from pandas.testing import assert_frame_equal

from .commands import history_of, run_directory
from .deployment import Deployment
from .faults import (
    Faults,
    clients_of,
    environment,
    faulty_app,
    simulated_with,
    without_descriptions,
)

pytestmark = [pytest.mark.e2e, pytest.mark.first]

# A dead ClientApp must be seen as that, not as a late one: Flower takes 66 s to notice, after
# the seconds in which four processes start on two cores that another test has its share of.
TIMEOUT = 130.0
CLIENTS = 4


def test_clients_that_raise_die_or_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in the second round, all back in the third: the history of a simulation of just that."""
    faults: Faults = {1: {2: "raise"}, 2: {2: "die"}, 3: {2: f"wait {TIMEOUT + 10}"}}
    config: dict[str, Any] = {
        "algorithm": "fsl_sage", "num-server-rounds": 3, "batch-size": 180,
        "round-timeout": TIMEOUT, "results-dir": str(tmp_path / "deployed"),
    }  # fmt: skip
    with Deployment(tmp_path, environment=environment(faults, tmp_path)) as deployment:
        deployment.start_nodes(CLIENTS)
        keys = {key.replace("-", "_"): value for key, value in config.items()}
        run = deployment.run(faulty_app(tmp_path), **keys)
        assert deployment.finish(run) == "finished:completed", deployment.logs()
    deployed = run_directory(tmp_path / "deployed")
    clients = clients_of(deployed)
    print(clients[["seconds", "failure"]])
    reasons = clients.failure[2].tolist()
    # Flower drops the late one's message in the moment in which we stop waiting for it.
    late = ("error 3", "no reply within")
    for reason, expected in zip(reasons, ("", "error 2", "error 8", late), strict=True):
        assert reason.startswith(expected), reasons
    assert clients.failure[3].tolist() == [""] * CLIENTS

    at_once: Faults = {1: {2: "raise"}, 2: {2: "raise"}, 3: {2: "late"}}
    here = {**config, "results-dir": str(tmp_path / "here")}
    simulated_with(at_once, CLIENTS, here, monkeypatch)
    assert_frame_equal(
        without_descriptions(history_of(deployed)),
        without_descriptions(history_of(run_directory(tmp_path / "here"))),
        check_exact=True,
    )
