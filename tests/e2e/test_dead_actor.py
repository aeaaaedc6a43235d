"""A Ray actor that dies in mid-round, as one does that the kernel takes for its memory."""

from dataclasses import replace
from pathlib import Path

import pytest

from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.app.run_path import run_path
from fsl_sage_flwr.simulations.federation import Federation
from fsl_sage_flwr.simulations.run import simulate

from .commands import history_of
from .faults import clients_of, environment, faulty_app, simulated_with

pytestmark = pytest.mark.e2e


def test_the_run_ends_with_the_state_before_that_round_and_goes_on_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its second exchange: the server half has been trained on the first by then."""
    config = RunConfig.from_run_config({
        "algorithm": "sl_single_server", "num-server-rounds": 4, "batch-size": 128,
        "keep-optimizer-state": False, "run-name": "whole", "results-dir": str(tmp_path),
    })  # fmt: skip
    simulated_with({}, Federation().clients, config.to_run_config(), monkeypatch)

    for name, value in environment({1: {3: "die"}}, tmp_path).items():
        monkeypatch.setenv(name, value)
    with monkeypatch.context() as patch:
        patch.setattr("fsl_sage_flwr.simulations.run.write_app", faulty_app)
        summary, broken = simulate(replace(config, run_name="broken"), Federation())
    assert "a Ray actor has died" in summary["status"]
    assert list(history_of(broken)["round"]) == [1, 2]

    latest = broken / "checkpoints" / "latest.pt"
    summary, resumed = simulate(
        replace(config, run_name="resumed", resume=str(latest)), Federation()
    )
    assert summary["completed"], summary
    ours, theirs = history_of(run_path(config)), history_of(resumed)
    # Nodes are asked again who they are.
    same = [column for column in ours if "bytes" not in column]
    assert ours[same].equals(theirs[same])


def test_a_client_that_raises_is_told_of_by_its_own_words_and_the_log_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment({1: {1: "raise"}}, tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("fsl_sage_flwr.simulations.run.write_app", faulty_app)
    config = RunConfig(num_server_rounds=1, batch_size=180, results_dir=str(tmp_path))
    summary, run = simulate(config, Federation())
    assert summary["completed"], summary
    told = clients_of(run).failure[1].tolist()
    assert told == ["", "error 2: RuntimeError: an injected fault", "", ""]
    log = (run / "run.log").read_text(encoding="utf-8")
    assert f"client 1 is excluded: {told[1]}" in log
    assert "Traceback" in log  # all of it is here
