"""The ServerApp from configuration to results, on digits, over a Grid in this process."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from flwr.app import Context, RecordDict

from fsl_sage_flwr import run_inline
from fsl_sage_flwr.algorithm_registry import ALGORITHMS
from fsl_sage_flwr.analysis import load_results
from fsl_sage_flwr.app.config import ConfigError, RunConfig
from fsl_sage_flwr.app.run_directory_lock import lock_for_command
from fsl_sage_flwr.app.run_path import run_path
from fsl_sage_flwr.client_app import app
from fsl_sage_flwr.models import build_model
from fsl_sage_flwr.runs.checkpoint import CheckpointError
from fsl_sage_flwr.runs.checksummed_file import write_checksummed
from fsl_sage_flwr.runs.csv_tables import HISTORY_COLUMNS
from fsl_sage_flwr.server_app import app as server_app
from fsl_sage_flwr.server_app import main

from ..e2e.commands import history_of, run_directory, summary_of
from ..few_rounds import few_rounds
from ..memory_grid import MemoryGrid
from ..rows import rows

QUICK: dict[str, Any] = {"batch-size": 25, "num-server-rounds": 2, "align.epochs": 1}


@pytest.fixture(autouse=True, scope="module")
def on_few_digits(few_digits: str) -> None:
    QUICK["dataset"] = few_digits


def run(results: Path, *, simulated: bool = False, **settings: Any) -> Path:
    config = {**QUICK, **settings, "results-dir": str(results)}
    nodes = MemoryGrid(app, 2, run_config=config, simulated=simulated)
    main(nodes, Context(1, 0, {}, RecordDict(), config))
    return run_directory(results)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, on_few_digits: None) -> Path:
    """Return the directory of a run that has finished its two rounds; leave it as it is."""
    return run(tmp_path_factory.mktemp("finished"), **{"run-name": "mine"})


@pytest.fixture(scope="module")
def latest(finished: Path) -> str:
    """Return its checkpoint."""
    return str(finished / "checkpoints" / "latest.pt")


LABELS_MAY_STAY = [name for name, one in ALGORITHMS.items() if one.labels_may_stay]


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", LABELS_MAY_STAY)
def test_labels_stay_on_the_clients_in_a_run(tmp_path: Path, algorithm: str) -> None:
    settings = {"labels": "client", "num-server-rounds": 1, "fraction-evaluate": 1.0}
    directory = run(tmp_path, algorithm=algorithm, **settings)
    history = pd.read_csv(directory / "history.csv")
    assert history["failures"].sum() == history["up_labels_bytes"].sum() == 0
    assert (history[["down_smashed_bytes", "up_gradients_bytes"]] > 0).all(axis=None)
    assert history[["train_loss", "test_accuracy", "validation_accuracy"]].notna().all(axis=None)
    merged = torch.load(directory / "full_model.pt", weights_only=True)
    build_model("simple_conv", (1, 8, 8), 10).load_state_dict(merged, strict=True)
    halves = [
        torch.load(directory / f"{side}_half.pt", weights_only=True)
        for side in ("client", "server")
    ]
    assert torch.equal(halves[0]["tail.classifier.4.weight"], merged["classifier.4.weight"])
    assert len(halves[0]) + len(halves[1]) == len(merged)


@pytest.mark.sample
@rows("algorithm", ALGORITHMS, lambda name: name in ("sl_multi_server", "fsl_sage"))
def test_every_algorithm_leaves_complete_results(tmp_path: Path, algorithm: str) -> None:
    directory = run(tmp_path, algorithm=algorithm, **few_rounds(algorithm))
    summary = summary_of(directory)
    assert (summary["completed"], summary["rounds"]) == (True, 2)
    history = pd.read_csv(directory / "history.csv")
    assert list(history) == list(HISTORY_COLUMNS)
    assert list(history["round"]) == [1, 2]
    # The server half alone has a loss, and Ampere trains it after the client halves.
    assert history["train_loss"].notna().tolist() == [algorithm != "ampere", True]
    kinds = [
        c for c in HISTORY_COLUMNS if c.endswith("_bytes") and c.split("_")[0] in ("up", "down")
    ]
    assert history[kinds].to_numpy().sum() == history["comm_bytes"].iloc[-1]
    merged = torch.load(directory / "full_model.pt", weights_only=True)
    build_model("simple_conv", (1, 8, 8), 10).load_state_dict(merged, strict=True)
    checkpoint = torch.load(directory / "checkpoints" / "latest.pt", weights_only=True)
    assert checkpoint["strategy"]["rounds_done"] == 2
    unused = json.loads((directory / "unused_keys.json").read_text(encoding="utf-8"))
    assert unused["validation-fraction"] == "fraction-evaluate"
    assert ("align.interval" in unused) == (algorithm != "fsl_sage")


@pytest.mark.slow
@rows("algorithm", ["fed_avg", "fsl_sage"], lambda name: name == "fsl_sage")
def test_federated_evaluation_is_in_the_history(tmp_path: Path, algorithm: str) -> None:
    history = history_of(run(tmp_path, algorithm=algorithm, **{"fraction-evaluate": 1.0}))
    assert history["validation_accuracy"].between(0, 1).all()
    assert (history["validation_loss"] > 0).all()


@pytest.mark.slow
def test_run_ends_after_the_round_that_reaches_the_threshold(tmp_path: Path) -> None:
    directory = run(tmp_path, **{"num-server-rounds": 9, "max-communication-mib": 3.0})
    bytes_so_far = history_of(directory)["comm_bytes"]
    assert bytes_so_far.iloc[-1] >= 3 * 2**20 > bytes_so_far.iloc[-2]
    assert summary_of(directory)["completed"] is True
    assert (directory / "full_model.pt").is_file()


@pytest.mark.slow
def test_a_second_run_of_a_name_leaves_an_interrupted_one_as_it_is(
    tmp_path: Path, finished: Path
) -> None:
    named = {**QUICK, "run-name": "mine", "results-dir": str(tmp_path)}
    directory = run_path(RunConfig.from_run_config(named))
    shutil.copytree(finished, directory)
    (directory / "summary.json").write_text(
        '{"completed": false, "status": "running"}', encoding="utf-8"
    )
    before = history_of(directory)
    with pytest.raises(ConfigError, match=r"holds an unfinished run; give resume='.*latest.pt'"):
        run(tmp_path, **{"run-name": "mine"})
    assert history_of(directory).equals(before)


@pytest.mark.slow
def test_a_run_of_another_version_goes_on_in_its_own_directory(
    tmp_path: Path, finished: Path
) -> None:
    """Its rows have a column that is gone, and lack one that has come since."""
    mine = {"run-name": "mine"}
    directory = run_path(RunConfig.from_run_config({**QUICK, **mine, "results-dir": str(tmp_path)}))
    shutil.copytree(finished, directory)
    checkpoint = directory / "checkpoints" / "latest.pt"
    saved = torch.load(checkpoint, weights_only=True)
    for old in saved["history"]:
        old["once_known"] = old.pop("client_step_seconds")
    write_checksummed(checkpoint, saved)
    of_clients = directory / "clients.csv"
    of_clients.write_text(
        of_clients.read_text(encoding="utf-8").replace("update_norm", "battery", 1),
        encoding="utf-8",
    )
    run(tmp_path, **mine, **{"num-server-rounds": 3, "resume": str(checkpoint)})
    history = pd.read_csv(directory / "history.csv")
    assert list(history) == [*HISTORY_COLUMNS, "once_known"]
    assert list(history["once_known"].notna()) == [True, True, False]
    assert list(history["client_step_seconds"].notna()) == [False, False, True]
    clients = pd.read_csv(directory / "clients.csv")
    assert list(clients["battery"].notna()) == [True] * 4 + [False] * 2
    loaded = load_results(directory)
    assert list(loaded["once_known"].notna()) == [True, True, False]


@pytest.mark.slow
def test_a_checkpoint_with_keys_of_other_algorithms_goes_on(tmp_path: Path) -> None:
    """An earlier version wrote every key; those of other algorithms change nothing."""
    mine = {"algorithm": "fed_avg", "run-name": "mine"}
    checkpoint = run(tmp_path, **mine) / "checkpoints" / "latest.pt"
    saved = torch.load(checkpoint, weights_only=True)
    saved["config"] |= {
        "align.interval": 7,
        "splitfed.server-order": "client",
        "align.warm-start": True,
    }
    write_checksummed(checkpoint, saved)
    on = run(tmp_path, **mine, **{"num-server-rounds": 3, "resume": str(checkpoint)})
    assert list(history_of(on)["round"]) == [1, 2, 3]


@pytest.mark.slow
def test_a_key_of_this_run_is_compared_even_where_it_changes_nothing(
    tmp_path: Path, latest: str
) -> None:
    other = {"distribution": "iid", "alpha": 0.7, "num-server-rounds": 3, "resume": latest}
    with pytest.raises(CheckpointError, match=r"another configuration: alpha was 1\.0, now 0\.7"):
        run(tmp_path / "on", **other)


@pytest.mark.slow
def test_checkpoint_of_another_configuration_is_refused_by_name(
    tmp_path: Path, latest: str
) -> None:
    with pytest.raises(CheckpointError, match="another configuration: batch-size was 25, now 128"):
        run(tmp_path / "on", **{"num-server-rounds": 3, "batch-size": 128, "resume": latest})
    summary = summary_of(run_directory(tmp_path / "on"))
    assert summary["completed"] is False
    assert "batch-size was 25" in str(summary["status"])


@pytest.mark.slow
def test_checkpoint_that_is_finished_or_missing_is_refused(tmp_path: Path, latest: str) -> None:
    with pytest.raises(CheckpointError, match="has finished 2 rounds already"):
        run(tmp_path / "on", resume=latest)
    with pytest.raises(CheckpointError, match="there is no such checkpoint file"):
        run(tmp_path / "off", resume=str(tmp_path / "nothing.pt"))


@pytest.mark.slow
def test_bf16_trains_and_its_messages_are_float32(tmp_path: Path) -> None:
    directory = run(tmp_path, precision="bf16")
    merged = torch.load(directory / "full_model.pt", weights_only=True)
    assert {tensor.dtype for tensor in merged.values()} == {torch.float32}
    assert history_of(directory)["test_loss"].notna().all()


@pytest.mark.slow
@pytest.mark.parametrize(("schedule", "goes_on"), [("cosine", False), ("cosine over=9", True)])
def test_a_cosine_that_ends_with_the_run_cannot_be_lengthened(
    tmp_path: Path, schedule: str, goes_on: bool
) -> None:
    first = run(tmp_path / "first", **{"lr-schedule": schedule, "num-server-rounds": 1})
    longer: dict[str, Any] = {
        "lr-schedule": schedule,
        "num-server-rounds": 2,
        "resume": str(first / "checkpoints" / "latest.pt"),
    }
    if goes_on:
        assert summary_of(run(tmp_path / "more", **longer))["rounds"] == 2
    else:
        with pytest.raises(CheckpointError, match="num-server-rounds was 1, now 2"):
            run(tmp_path / "more", **longer)


@pytest.mark.slow
def test_a_run_is_refused_where_another_is_at_work_and_leaves_it_alone(tmp_path: Path) -> None:
    config = RunConfig.from_run_config({**QUICK, "run-name": "mine", "results-dir": str(tmp_path)})
    with lock_for_command(config) as held:
        with pytest.raises(ConfigError, match="run-name = 'mine': another run is active in"):
            run(tmp_path, **{"run-name": "mine"})
        assert [entry.name for entry in held.path.iterdir()] == [".locks"]
    assert summary_of(run(tmp_path, **{"run-name": "mine"}))["completed"] is True


@pytest.mark.slow
def test_two_runs_without_a_name_leave_two_directories(tmp_path: Path) -> None:
    for _ in range(2):
        config = {**QUICK, "num-server-rounds": 1, "results-dir": str(tmp_path)}
        nodes = MemoryGrid(app, 2, run_config=config)
        main(nodes, Context(1, 0, {}, RecordDict(), config))
    summaries = [summary_of(path.parent) for path in tmp_path.rglob("summary.json")]
    assert [summary["completed"] for summary in summaries] == [True, True]


def test_clients_share_no_nodes_of_a_deployment(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="virtual-clients = 3: only a simulation's nodes"):
        run(tmp_path, **{"virtual-clients": 3})


def test_clients_share_no_nodes_of_a_ray_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    with pytest.raises(ConfigError, match=r"virtual-clients = 3: .* on a Ray cluster leave it out"):
        run(tmp_path, simulated=True, **{"virtual-clients": 3})


def test_clients_share_no_nodes_in_one_process(tmp_path: Path) -> None:
    config = {**QUICK, "virtual-clients": 3, "results-dir": str(tmp_path)}
    with pytest.raises(ConfigError, match="virtual-clients = 3: in one process each client has"):
        run_inline(server_app, app, 3, config)
