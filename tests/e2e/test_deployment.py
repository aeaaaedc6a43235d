"""The same code on a real SuperLink with two SuperNodes on loopback."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pandas.testing import assert_frame_equal

from fsl_sage_flwr import run_inline
from fsl_sage_flwr.client_app import app as client_app
from fsl_sage_flwr.server_app import app as server_app
from fsl_sage_flwr.simulations.app_directory import write_app

from ..few_rounds import few_rounds
from ..language import small_run
from ..tables import write_split
from .commands import history_of, run_directory, summary_of
from .deployment import Deployment

pytestmark = [pytest.mark.e2e, pytest.mark.first]

# A message costs seconds here: two batches a client and round, and one where it is tested how
# messages travel.
SETTINGS: dict[str, Any] = {"num-server-rounds": 1}
BATCH_SIZE = {False: 360, True: 720}
TEXT = "a language model"
STAY = "labels that stay"


def simulated(directory: Path, settings: dict[str, Any]) -> Path:
    """Return the directory of the same run in one process.

    ``test_run.py`` compares its bits with Ray's simulation.
    """
    here = {**settings, "results-dir": str(directory)}
    run_inline(server_app, client_app, 2, here)
    return run_directory(Path(here["results-dir"]))


# Runs that differ in their messages: a message a batch, with labels (TEXT) and without (STAY), none
# in a round (ampere), and one a round with a probe and changed heads (fsl_sage). The contract's
# table has every algorithm, in one process.


def settings_of(name: str, secure: bool, directory: Path) -> dict[str, Any]:
    if name == TEXT:
        return small_run(directory, algorithm="sl_single_server", **SETTINGS, **{"batch-size": 12})
    if name == STAY:
        split_fed = {"algorithm": "sl_single_server", "labels": "client"}
        return {**SETTINGS, "batch-size": BATCH_SIZE[secure], **split_fed}
    return {
        **SETTINGS,
        "batch-size": BATCH_SIZE[secure],
        "algorithm": name,
        "compression": "strong" if secure else "none",
        **few_rounds(name),
    }


# What is secured is the connection of all of them.
@pytest.mark.parametrize(
    ("secure", "names"),
    [(False, ("ampere", STAY, TEXT)), (True, ("fsl_sage",))],
    ids=["every protocol", "TLS and authentication"],
)
def test_a_deployment_has_the_history_of_the_simulation(
    tmp_path: Path, secure: bool, names: tuple[str, ...]
) -> None:
    with Deployment(tmp_path, secure=secure) as deployment:
        deployment.start_nodes(2)
        app = write_app(tmp_path)  # without tests and docs, which Flower would pack every time
        for name in names:
            results = tmp_path / "deployed" / name
            settings = settings_of(name, secure, tmp_path)
            keys = {key.replace("-", "_"): value for key, value in settings.items()}
            run = deployment.run(app, **keys, results_dir=str(results))
            assert deployment.finish(run) == "finished:completed", deployment.logs()
            deployed = run_directory(results)
            assert summary_of(deployed)["completed"] is True
            here = simulated(tmp_path / "here" / name, settings)
            assert_frame_equal(history_of(deployed), history_of(here), check_exact=True)
            halves = sorted(path.name for path in here.glob("*.pt"))
            assert halves or name == TEXT
            for half in halves:
                ours, theirs = (
                    torch.load(path / half, weights_only=True) for path in (deployed, here)
                )
                assert ours.keys() == theirs.keys()
                assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []
            adapters = [path / "adapter" / "adapter_model.safetensors" for path in (deployed, here)]
            assert [path.is_file() for path in adapters] == [name == TEXT] * 2
            if name == TEXT:
                assert adapters[0].read_bytes() == adapters[1].read_bytes()
        if not secure:
            merges_late_replies(deployment, app, tmp_path / "deployed" / "async")


def merges_late_replies(deployment: Deployment, app: Path, results: Path) -> None:
    """Run rounds that end with the first of two replies; which one is first is not tested."""
    keys = {"num_server_rounds": 3, "batch_size": 720, "algorithm": "cse_fsl", "async.buffer": 1}
    run = deployment.run(app, **keys, results_dir=str(results))
    assert deployment.finish(run) == "finished:completed", deployment.logs()
    directory = run_directory(results)
    history = history_of(directory)
    assert history["clients"].tolist() == [1, 1, 1]
    assert history["failures"].tolist() == [0, 0, 0]
    rows = pd.read_csv(directory / "clients.csv")
    merged = rows[rows["staleness"].notna()]
    assert merged["round"].tolist() == [1, 2, 3]
    # The other one is still computing in each round, or its reply is the one that is late.
    for staleness, number in zip(merged["staleness"], merged["round"], strict=True):
        assert 0 <= staleness < number
    assert (rows["down_bytes"] > 0).sum() + (rows["up_bytes"] > 0).sum() >= len(merged) + 2


def test_a_supernode_trains_on_data_of_its_own(tmp_path: Path) -> None:
    """Two of its directories that the server has no access to; the second does not fit."""
    from sklearn.datasets import load_digits

    images = [np.rint(image * (255 / 16)).astype(np.uint8) for image in load_digits().images[:60]]
    labels = load_digits().target[:60].tolist()
    own = write_split(tmp_path / "my own data", "train", images, labels, classes=10)
    other = write_split(tmp_path / "other", "train", images, labels, classes=11)
    kept = tmp_path / "kept"
    # With Flower's own processes, each of which imports everything: the others fork them.
    with Deployment(
        tmp_path, forked=False, environment={"FSL_SAGE_CACHE": str(kept)}
    ) as deployment:
        for partition, path in enumerate((own, other)):
            deployment.wait_for_node(deployment.start_node(partition, more=f"data-path='{path}'"))
        run = deployment.run(
            write_app(tmp_path), algorithm="cse_fsl", num_server_rounds=1,
            results_dir=str(tmp_path / "deployed"),
        )  # fmt: skip
        assert deployment.finish(run) == "finished:completed", deployment.logs()
    (folder,) = kept.iterdir()
    assert list(folder.iterdir()) == []  # the copies that `datasets` made went with the run
    directory = run_directory(tmp_path / "deployed")
    made = json.loads((directory / "provenance.json").read_text(encoding="utf-8"))
    assert made["command"] == "flwr-serverapp"  # without the token that Flower gave it
    assert made["run_id"] == str(run)
    assert len(made["app_hash"]) == 64
    reasons = pd.read_csv(directory / "clients.csv")["failure"].dropna()
    assert len(reasons) == 1
    assert not reasons.str.contains(str(tmp_path)).any()
    history = history_of(directory)
    assert history["clients"].tolist() == [1]
    assert history["failures"].tolist() == [1]
