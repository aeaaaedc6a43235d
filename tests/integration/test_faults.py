"""Clients that break on a real SuperLink: what the run does, and that nothing is half-applied."""

from pathlib import Path
from typing import Any

import pytest

from .commands import history_of, run_directory
from .deployment import Deployment
from .faults import Faults, clients_of, environment, faulty_app, simulated_with

pytestmark = pytest.mark.integration

# Flower takes 66 s to notice a dead ClientApp: it must be seen as that, not as a late one.
TIMEOUT = 100.0


@pytest.mark.parametrize("algorithm", ["fsl_sage", "sl_single_server"])
def test_clients_that_raise_die_or_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    """Each in the second round, all back in the third: the history of a simulation of just that."""
    faults: Faults = {1: {2: "raise"}, 2: {2: "die"}, 3: {2: f"wait {TIMEOUT + 10}"}}
    config: dict[str, Any] = {
        "algorithm": algorithm, "num-server-rounds": 3, "batch-size": 180,
        "round-timeout": TIMEOUT, "results-dir": str(tmp_path / "deployed"),
    }  # fmt: skip
    told = environment(faults, tmp_path)
    with Deployment(tmp_path, environment=told) as deployment:
        for partition in range(4):
            deployment.start_node(partition, of=4)
        app = faulty_app(tmp_path)
        run = deployment.run(app, **{k.replace("-", "_"): v for k, v in config.items()})
        assert deployment.finish(run) == "finished:completed", deployment.logs()
    deployed = run_directory(tmp_path / "deployed")
    clients = clients_of(deployed)
    print(clients[["seconds", "failure"]])
    reasons = clients.failure[2].tolist()
    for reason, expected in zip(reasons, ("", "error 2", "error 8", "error 3"), strict=True):
        assert reason.startswith(expected), reasons
    assert clients.failure[3].tolist() == [""] * 4

    at_once: Faults = {1: {2: "raise"}, 2: {2: "raise"}, 3: {2: "late"}}
    here = {**config, "results-dir": str(tmp_path / "here")}
    simulated_with(at_once, 4, here, monkeypatch)
    assert history_of(deployed).equals(history_of(run_directory(tmp_path / "here")))
