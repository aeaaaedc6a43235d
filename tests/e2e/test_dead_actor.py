"""A client that raises in a Ray actor, and an actor that dies as if the kernel had ended it."""

from dataclasses import replace
from pathlib import Path

import pytest

from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.app.run_path import run_path
from fsl_sage_flwr.simulations.federation import INLINE, Federation
from fsl_sage_flwr.simulations.run import simulate

from .commands import history_of
from .faults import clients_of, environment, faulty_app, simulated_with

pytestmark = pytest.mark.e2e


@pytest.mark.usefixtures("forked")
def test_a_client_that_raises_is_excluded_and_a_dead_actor_ends_the_run_before_its_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both in the second exchange: the server half has been trained on the first by then.

    With one actor; the run resumes in this process.
    """
    raised = {1: {1: "raise"}}
    config = RunConfig.from_run_config({
        "algorithm": "sl_single_server", "num-server-rounds": 4, "batch-size": 128,
        "keep-optimizer-state": False, "run-name": "whole", "results-dir": str(tmp_path),
    })  # fmt: skip
    simulated_with(raised, Federation().clients, config.to_run_config(), monkeypatch)

    for name, value in environment({1: {1: "raise", 3: "die"}}, tmp_path).items():
        monkeypatch.setenv(name, value)
    with monkeypatch.context() as patch:
        patch.setattr("fsl_sage_flwr.simulations.run.write_app", faulty_app)
        summary, broken = simulate(replace(config, run_name="broken"), Federation(cpus=1))
    assert "a Ray actor has died" in summary["status"]
    assert list(history_of(broken)["round"]) == [1, 2]
    told = clients_of(broken).failure[1].tolist()
    assert told == ["", "error 2: RuntimeError: an injected fault", "", ""]
    log = (broken / "run.log").read_text(encoding="utf-8")
    assert f"client 1 is excluded: {told[1]}" in log
    assert "Traceback" in log  # the client's, whole

    latest = broken / "checkpoints" / "latest.pt"
    summary, resumed = simulate(
        replace(config, run_name="resumed", resume=str(latest)), Federation(engine=INLINE)
    )
    assert summary["completed"], summary
    ours, theirs = history_of(run_path(config)), history_of(resumed)
    # Nodes are asked again who they are.
    same = [column for column in ours if "bytes" not in column]
    assert ours[same].equals(theirs[same])
