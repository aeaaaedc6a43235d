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


def rounds(results: Path) -> int:
    files = list(results.rglob("history.csv"))
    return len(files[0].read_text(encoding="utf-8").splitlines()) - 1 if files else 0


@pytest.mark.parametrize("secure", [False, True], ids=["as a new node", "as the same node"])
def test_supernode_killed_in_mid_message_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, secure: bool
) -> None:
    """It is left out of that round, and sent its lost head, with the next message.

    Its optimizer's state is nowhere else, which the log says. Beside the new node another joins
    late, and takes part from the next round on: it answers the probe first, and its head is
    aligned on that.
    """
    clients = 2 if secure else 3
    config = {**CONFIG, "num-server-rounds": 3, "results-dir": str(tmp_path / "deployed")}
    # The first client keeps the round open until the second is back.
    told = environment({0: {2: "until back"}, 1: {2: "wait 1000"}}, tmp_path)
    with Deployment(tmp_path, secure=secure, environment=told) as deployment:
        _, killed = nodes = [deployment.start_node(partition, of=clients) for partition in range(2)]
        for node in nodes:
            deployment.wait_for_node(node)
        run = start(deployment, faulty_app(tmp_path), config)
        said = deployment.follow(run)
        wait_for("the fault", (tmp_path / "client1").exists)
        deployment.kill(killed)
        if secure:
            refused = deployment.start_node(1, of=clients)
            wait_for("Flower's refusal", lambda: refused.poll() is not None)
        # If it is back before the ServerApp asks, its lost message goes unnoticed.
        wait_for("the loss", lambda: "client 1 is excluded" in said.read_text(encoding="utf-8"))
        for partition in range(1, clients):
            deployment.wait_for_node(deployment.start_node(partition, of=clients))
        (tmp_path / "back").touch()
        assert deployment.finish(run) == "finished:completed", deployment.logs()
        log = deployment.log(run)
    deployed = run_directory(tmp_path / "deployed")
    found = clients_of(deployed)
    print(found[["seconds", "failure"]])
    assert history_of(deployed)["clients"].tolist() == [2, 1, clients]
    assert found.failure[2, 1].startswith("error 5")
    assert found.failure[3].tolist() == [""] * clients
    assert history_of(deployed)["down_auxiliary_bytes"].gt(0).tolist() == [True, False, True]
    assert "clients [1] had lost their optimizer state; it began afresh" in log

    def after(grid: MemoryGrid, client: int, reason: str) -> None:
        if "injected" in reason:
            grid.restart_node(client, new_id=not secure)

    here = {**config, "results-dir": str(tmp_path / "here")}
    simulated_with({1: {2: "raise"}}, clients, here, monkeypatch, after, late=clients - 2)
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
        **CONFIG, "num-server-rounds": 2, "keep-optimizer-state": False,
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
