"""Clients that break on a real SuperLink: what the run does, and that nothing is half-applied."""

from collections.abc import Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Shared:
    """A SuperLink with four SuperNodes, whose ClientApps read their faults with each message."""

    deployment: Deployment
    directory: Path
    app: Path

    def run_with(self, faults: Faults, config: dict[str, Any]) -> Path:
        """Do a run with faults; return its directory."""
        environment(faults, self.directory)
        keys = {key.replace("-", "_"): value for key, value in config.items()}
        run = self.deployment.run(self.app, **keys)
        assert self.deployment.finish(run) == "finished:completed", self.deployment.logs()
        return run_directory(Path(config["results-dir"]))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    directory = tmp_path_factory.mktemp("shared")
    with Deployment(directory, environment=environment({}, directory)) as deployment:
        deployment.start_nodes(CLIENTS)
        yield Shared(deployment, directory, faulty_app(directory))


@pytest.mark.parametrize("fault", ["raise", "huge"])
def test_split_fed_begins_again_without_a_client_that_breaks(
    shared: Shared, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its second exchange, when the one server half has been stepped on its first batch.

    Smashed data for which no loss is finite are undone as if their client had raised an error.
    """
    config: dict[str, Any] = {
        "algorithm": "sl_single_server", "num-server-rounds": 2, "batch-size": 180,
        "results-dir": str(tmp_path / "deployed"),
    }  # fmt: skip
    deployed = shared.run_with({1: {1: fault}}, config)
    here = {**config, "results-dir": str(tmp_path / "here")}
    simulated_with({1: {1: fault}}, CLIENTS, here, monkeypatch)
    history = history_of(deployed)
    assert history["clients"].tolist() == [CLIENTS - 1, CLIENTS]
    assert_frame_equal(
        without_descriptions(history),
        without_descriptions(history_of(run_directory(tmp_path / "here"))),
        check_exact=True,
    )


def test_clients_that_raise_die_or_hang(
    shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each in the second round, all back in the third: the history of a simulation of just that."""
    faults: Faults = {1: {2: "raise"}, 2: {2: "die"}, 3: {2: f"wait {TIMEOUT + 10}"}}
    config: dict[str, Any] = {
        "algorithm": "fsl_sage", "num-server-rounds": 3, "batch-size": 180,
        "round-timeout": TIMEOUT, "results-dir": str(tmp_path / "deployed"),
    }  # fmt: skip
    deployed = shared.run_with(faults, config)
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
