"""Processes of a deployment that are killed and restarted during a run."""

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


def start(deployment: Deployment, app: Path, config: dict[str, Any]) -> int:
    return deployment.run(app, **{key.replace("-", "_"): v for key, v in config.items()})


def start_again(deployment: Deployment, partition: int) -> None:
    """Start a SuperNode, and wait until the SuperLink has let it in."""
    node = deployment.start_node(partition)
    wait_for("the SuperNode", lambda: "SuperNode ID" in deployment.log_of(node))


def rounds(results: Path) -> int:
    files = list(results.rglob("history.csv"))
    return len(files[0].read_text(encoding="utf-8").splitlines()) - 1 if files else 0


@pytest.mark.parametrize("secure", [False, True], ids=["as a new node", "as the same node"])
def test_supernode_killed_in_mid_message_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secure: bool
) -> None:
    """It is left out of that round, and sent its lost head, with the next message.

    Its optimizer's state is nowhere else, which the log says.
    """
    config = {**CONFIG, "num-server-rounds": 4, "results-dir": str(tmp_path / "deployed")}
    # The other client keeps the round open until it is back.
    faults = {0: {2: "until back"}, 1: {2: "wait 1000"}}
    told = environment(faults, tmp_path)
    with Deployment(tmp_path, secure=secure, environment=told) as deployment:
        deployment.start_node(0)
        node = deployment.start_node(1)
        run = start(deployment, faulty_app(tmp_path), config)
        said = deployment.follow(run)
        wait_for("the fault", (tmp_path / "client1").exists)
        deployment.kill(node)
        if secure:
            refused = deployment.start_node(1)
            wait_for("Flower's refusal", lambda: refused.poll() is not None)
        # If it is back before the ServerApp asks, its lost message goes unnoticed.
        wait_for("the loss", lambda: "client 1 is excluded" in said.read_text(encoding="utf-8"))
        start_again(deployment, 1)
        (tmp_path / "back").touch()
        assert deployment.finish(run) == "finished:completed", deployment.logs()
        log = deployment.log(run)
    deployed = run_directory(tmp_path / "deployed")
    clients = clients_of(deployed)
    print(clients[["seconds", "failure"]])
    assert clients.failure[2, 1].startswith("error 5")
    assert clients.failure[3, 1] == clients.failure[4, 1] == ""
    assert "clients [1] had lost their optimizer state; it began afresh" in log

    def restarted(grid: MemoryGrid, client: int, reason: str) -> None:
        if "injected" in reason:
            grid.restart_node(client, new_id=not secure)

    here = {**config, "results-dir": str(tmp_path / "here")}
    simulated_with({1: {2: "raise"}}, 2, here, monkeypatch, restarted)
    assert_frame_equal(
        without_descriptions(history_of(deployed)),
        without_descriptions(history_of(run_directory(tmp_path / "here"))),
        check_exact=True,
    )


def test_superlink_killed_and_started_again_with_the_run_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a database it knows its SuperNodes again: they come back by themselves."""
    config = {**CONFIG, "num-server-rounds": 3, "keep-optimizer-state": False}
    parts = [tmp_path / name for name in ("first", "second", "whole")]
    first, second, whole = ({**config, "results-dir": str(part)} for part in parts)
    with Deployment(
        tmp_path, link_options=["--database", str(tmp_path / "state.db")]
    ) as deployment:
        nodes = [deployment.start_node(partition) for partition in range(2)]
        app = faulty_app(tmp_path)
        broken = start(deployment, app, first)
        wait_for("a round", lambda: rounds(parts[0]) >= 1)
        deployment.kill(deployment.link)
        deployment.start_link()
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


def test_supernode_that_joins_late_takes_part_from_the_next_round_on(tmp_path: Path) -> None:
    config = {**CONFIG, "num-server-rounds": 3, "results-dir": str(tmp_path / "deployed")}
    told = environment({0: {2: "until joined"}}, tmp_path)
    with Deployment(tmp_path, environment=told) as deployment:
        deployment.start_node(0)
        run = start(deployment, faulty_app(tmp_path), config)
        wait_for("the second round", (tmp_path / "client0").exists)
        start_again(deployment, 1)
        (tmp_path / "joined").touch()
        assert deployment.finish(run) == "finished:completed", deployment.logs()
    history = history_of(run_directory(tmp_path / "deployed"))
    assert history["clients"].tolist() == [1, 1, 2]
    assert history["failures"].tolist() == [0, 0, 0]
    # It answers the probe first, and its head is aligned on that.
    assert history["down_auxiliary_bytes"].gt(0).tolist() == [True, False, True]
