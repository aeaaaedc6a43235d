"""Processes of a deployment that are killed and restarted during a run."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pandas.testing import assert_frame_equal

from ..memory_grid import MemoryGrid
from .commands import history_of, run_directory
from .deployment import Deployment, wait_for
from .faults import clients_of, environment, faulty_app, simulated_with, without_descriptions

pytestmark = [pytest.mark.e2e, pytest.mark.first]

CONFIG: dict[str, Any] = {
    "algorithm": "fsl_sage", "batch-size": 180, "round-timeout": 400.0, "align.interval": 10,
}  # fmt: skip


@dataclass
class Restarted:
    """A SuperLink, the SuperNodes that are started, and where their ClientApps read faults."""

    deployment: Deployment
    directory: Path
    app: Path
    nodes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start_nodes(self, number: int) -> None:
        """Start those of the first SuperNodes that are not there."""
        for partition in range(number):
            if partition not in self.nodes:
                self.start_again(partition)

    def start_again(self, partition: int) -> None:
        """Start a SuperNode, and wait until the SuperLink has let it in."""
        node = self.nodes[partition] = self.deployment.start_node(partition)
        self.deployment.wait_for_node(node)


def started(directory: Path, *, secure: bool) -> Iterator[Restarted]:
    told = environment({}, directory)
    with Deployment(directory, secure=secure, environment=told) as deployment:
        yield Restarted(deployment, directory, faulty_app(directory))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restarted]:
    yield from started(tmp_path_factory.mktemp("plain"), secure=False)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restarted]:
    yield from started(tmp_path_factory.mktemp("secure"), secure=True)


def start(deployment: Deployment, app: Path, config: dict[str, Any]) -> int:
    return deployment.run(app, **{key.replace("-", "_"): v for key, v in config.items()})


def rounds(results: Path) -> int:
    files = list(results.rglob("history.csv"))
    return len(files[0].read_text(encoding="utf-8").splitlines()) - 1 if files else 0


def test_supernode_that_joins_late_takes_part_from_the_next_round_on(
    plain: Restarted, tmp_path: Path
) -> None:
    config = {**CONFIG, "num-server-rounds": 3, "results-dir": str(tmp_path / "deployed")}
    environment({0: {2: "until joined"}}, plain.directory)
    plain.start_nodes(1)
    run = start(plain.deployment, plain.app, config)
    wait_for("the second round", (plain.directory / "client0").exists)
    plain.start_again(1)
    (plain.directory / "joined").touch()
    assert plain.deployment.finish(run) == "finished:completed", plain.deployment.logs()
    history = history_of(run_directory(tmp_path / "deployed"))
    assert history["clients"].tolist() == [1, 1, 2]
    assert history["failures"].tolist() == [0, 0, 0]
    # It answers the probe first, and its head is aligned on that.
    assert history["down_auxiliary_bytes"].gt(0).tolist() == [True, False, True]


@pytest.mark.parametrize("name", ["plain", "secure"], ids=["as a new node", "as the same node"])
def test_supernode_killed_in_mid_message_comes_back(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is left out of that round, and sent its lost head, with the next message.

    Its optimizer's state is nowhere else, which the log says.
    """
    restarted: Restarted = request.getfixturevalue(name)
    deployment, directory = restarted.deployment, restarted.directory
    config = {**CONFIG, "num-server-rounds": 4, "results-dir": str(tmp_path / "deployed")}
    # The other client keeps the round open until it is back.
    environment({0: {2: "until back"}, 1: {2: "wait 1000"}}, directory)
    restarted.start_nodes(2)
    run = start(deployment, restarted.app, config)
    said = deployment.follow(run)
    wait_for("the fault", (directory / "client1").exists)
    deployment.kill(restarted.nodes[1])
    if name == "secure":
        refused = deployment.start_node(1)
        wait_for("Flower's refusal", lambda: refused.poll() is not None)
    # If it is back before the ServerApp asks, its lost message goes unnoticed.
    wait_for("the loss", lambda: "client 1 is excluded" in said.read_text(encoding="utf-8"))
    restarted.start_again(1)
    (directory / "back").touch()
    assert deployment.finish(run) == "finished:completed", deployment.logs()
    log = deployment.log(run)
    deployed = run_directory(tmp_path / "deployed")
    clients = clients_of(deployed)
    print(clients[["seconds", "failure"]])
    assert clients.failure[2, 1].startswith("error 5")
    assert clients.failure[3, 1] == clients.failure[4, 1] == ""
    assert "clients [1] had lost their optimizer state; it began afresh" in log

    def after(grid: MemoryGrid, client: int, reason: str) -> None:
        if "injected" in reason:
            grid.restart_node(client, new_id=name == "plain")

    here = {**config, "results-dir": str(tmp_path / "here")}
    simulated_with({1: {2: "raise"}}, 2, here, monkeypatch, after)
    assert_frame_equal(
        without_descriptions(history_of(deployed)),
        without_descriptions(history_of(run_directory(tmp_path / "here"))),
        check_exact=True,
    )


def test_superlink_killed_and_started_again_with_the_run_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a database it knows its SuperNodes again: they come back by themselves."""
    config = {
        **CONFIG, "num-server-rounds": 3, "keep-optimizer-state": False,
        "min-train-nodes": 2,  # the resumed run waits for both of them
    }  # fmt: skip
    parts = [tmp_path / name for name in ("first", "second", "whole")]
    first, second, whole = ({**config, "results-dir": str(part)} for part in parts)
    # Both compute when it is killed: to a node that is fetching a message then, Flower sends each
    # later one too late (docs/reference/faults.md).
    faults = {0: {2: "until back"}, 1: {2: "until back"}}
    with Deployment(
        tmp_path,
        environment=environment(faults, tmp_path),
        link_options=["--database", str(tmp_path / "state.db")],
    ) as deployment:
        nodes = deployment.start_nodes(2)
        app = faulty_app(tmp_path)
        broken = start(deployment, app, first)
        wait_for("a round", lambda: rounds(parts[0]) >= 1)
        for client in range(2):
            wait_for("the second round", (tmp_path / f"client{client}").exists)
        deployment.kill(deployment.link)
        deployment.start_link()
        (tmp_path / "back").touch()
        latest = run_directory(parts[0]) / "checkpoints" / "latest.pt"
        run = start(deployment, app, {**second, "resume": str(latest)})
        assert deployment.finish(run) == "finished:completed", deployment.logs()
        # The SuperLink waits for a sign of life of the old ServerApp before it reports the end.
        wait_for("the first run's end", lambda: deployment.status(broken) == "finished:failed")
        assert [node.poll() for node in nodes] == [None, None]
    simulated_with({}, 2, whole, monkeypatch)
    ours, theirs = (history_of(run_directory(part)) for part in parts[1:])
    # Heads are sent again after a restart, and nodes asked again who they are.
    same = [column for column in ours if "bytes" not in column]
    assert ours[same].equals(theirs[same])
