"""A Ray cluster's address: what is taken for one, what is refused, and where it is said."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fsl_sage_flwr.app.config import ConfigError
from fsl_sage_flwr.cli import main
from fsl_sage_flwr.runs.directory import RunDirectory
from fsl_sage_flwr.simulations.federation import Federation
from fsl_sage_flwr.simulations.ray_cluster import (
    cluster_address,
    nodes_of,
    refuse_if_no_client_fits,
)
from fsl_sage_flwr.simulations.sweeps import share_out

from ..cli.words import federation

ADDRESS = "192.0.2.1:6379"


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def listening() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_the_option_wins_over_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert federation().ray_address is None
    assert federation("--ray-address", ADDRESS).ray_address == ADDRESS
    for nothing in ("", "local"):
        monkeypatch.setenv("RAY_ADDRESS", nothing)
        assert federation().ray_address is None
    monkeypatch.setenv("RAY_ADDRESS", "other:1")
    assert federation().ray_address == "other:1"
    assert federation("--ray-address", ADDRESS).ray_address == ADDRESS
    assert federation("--ray-address", "local").ray_address is None


@pytest.mark.parametrize(
    "given", ["auto", "host", ":6379", "host:", "host:0", "host:70000", "ray://host:10001"]
)
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match=r"give HOST:PORT .* or local to start Ray here"):
        cluster_address(given)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cpus", "1"], "--cpus 1: .* `ray start --num-cpus`"),
        (["--gpus", "1"], "--gpus 1: .* `ray start --num-gpus`"),
        (["--import", "mine"], "--import mine: .* entry point, or set FSL_SAGE_IMPORT"),
    ],
)
def test_what_is_of_one_machine_is_refused(words: list[str], said: str) -> None:
    federation(*words)
    with pytest.raises(ConfigError, match=said):
        federation(*words, "--ray-address", ADDRESS)


def test_ray_is_told_of_cpus_only_where_it_is_started() -> None:
    assert federation().options_for_flower()["init-args-num-cpus"] >= 1
    shared = federation("--ray-address", ADDRESS, "--gpus-per-client", "0.5")
    assert not [key for key in shared.options_for_flower() if key.startswith("init-args")]
    assert shared.options_for_flower()["client-resources-num-gpus"] == 0.5


def test_a_sweep_on_a_cluster_is_one_run_after_another() -> None:
    shared = Federation(ray_address=ADDRESS)
    assert share_out(shared, 1, 2, []) == [shared]
    with pytest.raises(ConfigError, match="--jobs 2: a run takes the whole Ray cluster at"):
        share_out(shared, 2, 2, [])


def test_an_address_nobody_listens_at_is_one_line_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as reserved:  # bound, so that no other process listens there
        reserved.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{reserved.getsockname()[1]}"
        begun = time.monotonic()
        words = ["run", "--ray-address", dead, f"results-dir={tmp_path / 'results'}"]
        assert main(words) == 2
        assert time.monotonic() - begun < 2
    said = capsys.readouterr().err
    assert said.startswith(f"fsl-sage: Ray address '{dead}': nothing listens there (Connection ref")
    assert said.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_who_listens_must_be_a_cluster(listening: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsl_sage_flwr.simulations.ray_cluster.ANSWERS_WITHIN", 0.02)
    with pytest.raises(ConfigError, match="no Ray cluster answered within"):
        nodes_of(listening)


@pytest.mark.slow  # a process that imports the package
def test_what_ray_prints_of_nodes_that_died_is_not_taken_for_the_answer(
    listening: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ray.py").write_text(
        "import atexit, os\n"
        "def init(**_): atexit.register(os.write, 1, b'[a node died]\\n')\n"
        "def nodes():\n"
        "    print('[another]', flush=True)\n"
        "    return [{'Alive': alive, 'Resources': {'CPU': 2.0}} for alive in (True, False)]\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert nodes_of(listening) == [{"CPU": 2.0}]


def test_a_client_must_fit_on_one_machine() -> None:
    nodes = [{"CPU": 2.0}, {"CPU": 4.0, "GPU": 1.0}]
    refuse_if_no_client_fits(Federation(cpus_per_client=4, gpus_per_client=0.5), nodes)
    for cpus, gpus in ((5, 0.0), (1, 2.0)):
        wanted = Federation(cpus_per_client=cpus, gpus_per_client=gpus, ray_address=ADDRESS)
        with pytest.raises(
            ConfigError, match=r"has as much \(2 CPUs and 0 GPUs, 4 CPUs and 1 GPUs"
        ):
            refuse_if_no_client_fits(wanted, nodes)
    with pytest.raises(ConfigError):  # three CPUs on each of two machines are not six on one
        refuse_if_no_client_fits(Federation(cpus_per_client=6), [{"CPU": 3.0}, {"CPU": 3.0}])


@pytest.mark.slow
def test_a_dry_run_and_what_a_run_leaves_say_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    preflight = "fsl_sage_flwr.simulations.preflight.nodes_of"
    monkeypatch.setattr(preflight, lambda address: [{"CPU": 1.0}])
    words = ["run", "--ray-address", ADDRESS, f"results-dir={tmp_path / 'results'}"]
    assert main([*words, "--dry-run"]) == 0
    assert f"on the Ray cluster at {ADDRESS}" in capsys.readouterr().out.replace("\n", " ")

    environment: dict[str, Any] = {}

    class Started(Exception):  # noqa: N818 - no error
        pass

    def popen(words: list[str], env: dict[str, str], **_: object) -> None:
        environment.update(env)
        raise Started

    fake = SimpleNamespace(Popen=popen, DEVNULL=subprocess.DEVNULL, STDOUT=subprocess.STDOUT)
    monkeypatch.setattr("fsl_sage_flwr.simulations.superlink.subprocess", fake)
    with pytest.raises(Started):
        main([*words, "run-name=one"])
    assert environment["RAY_ADDRESS"] == ADDRESS
    (federation_file,) = tmp_path.rglob("federation.json")
    assert json.loads(federation_file.read_text(encoding="utf-8"))["ray-address"] == ADDRESS
    provenance = RunDirectory.provenance_of(federation_file.parent)
    assert json.loads(provenance.read_text(encoding="utf-8"))["ray_address"] == ADDRESS

    # Ray would take any cluster of this machine's where it is not told to start its own.
    with pytest.raises(Started):
        main(["run", "--engine", "ray", f"results-dir={tmp_path / 'other'}"])
    assert environment["RAY_ADDRESS"] == "local"
