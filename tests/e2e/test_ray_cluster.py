"""Simulate clients on a Ray cluster of two nodes on one machine.

The tests share the cluster; the last one kills a node.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pandas.testing import assert_frame_equal

from fsl_sage_flwr import run_inline
from fsl_sage_flwr.client_app import app as client_app
from fsl_sage_flwr.server_app import app as server_app

from .commands import PATIENCE, fsl_sage, history_of, run_directory, started_by, summary_of
from .deployment import wait_for
from .forked_programs import for_simulations
from .ray_cluster import RayCluster

pytestmark = [pytest.mark.e2e, pytest.mark.first]

SETTINGS: dict[str, Any] = {
    "algorithm": "sl_single_server", "batch-size": 128, "num-server-rounds": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    # What a node of SplitFed's clients keeps must be found by the other machines too.
    shared = {"FSL_SAGE_CACHE": str(tmp_path_factory.mktemp("shared"))}
    with RayCluster(tmp_path_factory.mktemp("cluster"), shared) as started:
        for _ in range(2):
            started.start_node()
        yield started


def begin(
    cluster: RayCluster, cwd: Path, *words: str, forked: bool = True
) -> subprocess.Popen[str]:
    installed = [sys.executable, "-m", "fsl_sage_flwr"]
    return subprocess.Popen(
        [*([str(for_simulations() / "fsl-sage")] if forked else installed), "run", *words],
        cwd=cwd, env={**os.environ, **cluster.environment}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    encoding="utf-8")  # fmt: skip


def rounds(results: Path) -> int:
    files = list(results.rglob("history.csv"))
    return len(files[0].read_text(encoding="utf-8").splitlines()) - 1 if files else 0


def test_actors_on_both_nodes_have_the_history_of_one_machine(
    tmp_path: Path, cluster: RayCluster
) -> None:
    nodes = cluster.nodes
    there = [cluster.raylet(node).pid for node in nodes]
    words = [f"{key}={value}" for key, value in SETTINGS.items()]
    words += [f"results-dir={tmp_path / 'option'}"]

    much = ("run", "--cpus-per-client", "2", "--ray-address", cluster.address)
    refused = fsl_sage(*much, *words, cwd=tmp_path, environment=cluster.environment)
    assert refused.returncode == 2, refused.stdout
    assert "has as much (1 CPUs and 0 GPUs, 1 CPUs and 0 GPUs); give less" in refused.stderr

    process = begin(cluster, tmp_path, "--ray-address", cluster.address, *words)
    wait_for("an actor on both", lambda: all(cluster.actors(node) for node in nodes))
    working = [lambda node=node: cluster.actors(node, at_work=True) for node in nodes]
    for actor_works in working:
        wait_for("its work", actor_works, pause=0.01)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    wait_for("their end", lambda: not any(cluster.actors(node) for node in nodes))
    assert [cluster.raylet(node).pid for node in nodes] == there
    option = run_directory(tmp_path / "option")
    for file, key in (("federation.json", "ray-address"), ("provenance.json", "ray_address")):
        assert json.loads((option / file).read_text(encoding="utf-8"))[key] == cluster.address

    run_inline(server_app, client_app, 4, {**SETTINGS, "results-dir": str(tmp_path / "here")})
    here = history_of(run_directory(tmp_path / "here"))
    assert_frame_equal(history_of(option), here, check_exact=True)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_the_actors_and_leaves_the_cluster(
    tmp_path: Path, cluster: RayCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = [cluster.raylet(node).pid for node in cluster.nodes]
    monkeypatch.setitem(cluster.environment, "RAY_ADDRESS", cluster.address)
    mark = f"results-dir={tmp_path / 'results'}"
    monkeypatch.setitem(cluster.environment, "FSL_SAGE_TEST_MARK", mark)
    process = begin(cluster, tmp_path, mark, forked=False)
    wait_for("a round", lambda: rounds(tmp_path / "results"))
    assert any(cluster.actors(node) for node in cluster.nodes)
    assert len(started_by(mark)) >= 4
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert started_by(mark) == []
    wait_for("their end", lambda: not any(cluster.actors(node) for node in cluster.nodes))
    assert [cluster.raylet(node).pid for node in cluster.nodes] == there


def test_a_node_that_dies_ends_the_run_whose_checkpoint_resumes(
    tmp_path: Path, cluster: RayCluster
) -> None:
    results = tmp_path / "results"
    words = ["--ray-address", cluster.address, f"results-dir={results}", "run-name=one"]
    process = begin(cluster, tmp_path, *words, "num-server-rounds=40")
    wait_for("a round", lambda: rounds(results) >= 2)
    cluster.kill(cluster.nodes[1])
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, output
    assert "a Ray actor has died" in errors
    assert "Traceback" not in errors
    run = run_directory(results)
    done = rounds(results)
    assert 2 <= done < 40
    assert summary_of(run)["completed"] is False

    more = fsl_sage("run", "--engine", "inline", f"results-dir={results}", "resume=last",
                    f"num-server-rounds={done + 2}", cwd=tmp_path)  # fmt: skip
    assert more.returncode == 0, more.stderr
    assert summary_of(run)["completed"] is True
    assert history_of(run)["round"].tolist() == list(range(1, done + 3))
