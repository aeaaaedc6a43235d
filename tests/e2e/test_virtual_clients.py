"""Clients that share the nodes of a simulation on Ray, two of a node's clients at a time."""

from pathlib import Path

import pandas as pd
import pytest

from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.simulations import federation
from fsl_sage_flwr.simulations import run as module
from fsl_sage_flwr.simulations.federation import INLINE, RAY, Federation
from fsl_sage_flwr.simulations.run import simulate

pytestmark = pytest.mark.e2e

CLIENTS, NODES = 6, 1


@pytest.mark.usefixtures("forked")
def test_the_history_is_that_of_clients_on_nodes_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, found = tmp_path / "kept", []
    monkeypatch.setenv("FSL_SAGE_CACHE", str(kept))
    # The server alone sees to it that the files go, as in a run that `flwr run` has started.
    monkeypatch.setattr(module, "remove_run", lambda run_id: None)
    monkeypatch.setattr(federation, "MOST_NODES", NODES)
    for engine in (INLINE, RAY):  # inline each client has a node
        config = RunConfig.from_run_config(
            {
                "algorithm": "sl_multi_server",  # a message a batch, and state between them
                "num-server-rounds": 2,
                "batch-size": 128,
                "fraction-train": 0.7,
                "fraction-evaluate": 0.5,
                "compression": "strong",
                "results-dir": str(tmp_path / engine),
                "run-name": "one",
            }
        )
        summary, run = simulate(config, Federation(clients=CLIENTS, engine=engine))
        assert summary["completed"], summary
        (folder,) = kept.iterdir()
        assert list(folder.iterdir()) == []
        history = pd.read_csv(run / "history.csv")
        found.append(history[[key for key in history if not key.endswith("seconds")]])
    pd.testing.assert_frame_equal(*found)
