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
    """Each in the second round, all back in the third; as if they had raised at once."""
    faults: Faults = {1: {2: "raise"}, 2: {2: "die"}, 3: {2: f"wait {TIMEOUT + 20}"}}
    config: dict[str, Any] = {
        "algorithm": algorithm, "num-server-rounds": 3, "batch-size": 180,
        "round-timeout": TIMEOUT, "results-dir": str(tmp_path / "deployed"),
    }  # fmt: skip
    with Deployment(tmp_path, environment=environment(faults)) as deployment:
        for partition in range(4):
            deployment.start_node(partition, of=4)
        app = faulty_app(tmp_path)
        run = deployment.run(app, **{k.replace("-", "_"): v for k, v in config.items()})
        assert deployment.finish(run) == "finished:completed", deployment.logs()
    deployed = run_directory(tmp_path / "deployed")
    print(clients_of(deployed).to_string())
    simulated_with(faults, 4, {**config, "results-dir": str(tmp_path / "here")}, monkeypatch)
    print(history_of(deployed).T.to_string())
    print(history_of(run_directory(tmp_path / "here")).T.to_string())
    assert history_of(deployed).equals(history_of(run_directory(tmp_path / "here")))
