"""What a strategy keeps in files, in checkpoints: shared, proportional to a round, complete."""

import errno
import gc
import logging
import os
import shutil
from pathlib import Path

import pytest
import torch

from fsl_sage_flwr.app.config import ConfigError, RunConfig
from fsl_sage_flwr.app.run_path import run_path
from fsl_sage_flwr.runs.checkpoint import CheckpointError, UnreadableError, read_checkpoint
from fsl_sage_flwr.runs.checkpoint_files import names_in, tensors_of
from fsl_sage_flwr.runs.directory import RunDirectory
from fsl_sage_flwr.simulations.sweeps.combinations import Combination
from fsl_sage_flwr.simulations.sweeps.finished import resume_interrupted

from ...rows import rows
from ...runs import assert_same
from ...tasks import CLIENTS
from .trained import Make, fsl_sage, split_fed, trained

both = rows("make", [fsl_sage, split_fed], lambda make: make is fsl_sage)


def there(directory: Path) -> set[str]:
    gc.collect()
    return {path.name for path in (directory / "checkpoints" / "tensors").glob("*")}


@pytest.mark.slow
@both
def test_only_what_a_checkpoint_names_is_left(tmp_path: Path, make: Make) -> None:
    trained(make, tmp_path, 3)
    names = ("latest", "previous", "best")
    checkpoints = [tmp_path / "checkpoints" / f"{name}.pt" for name in names]
    assert there(tmp_path) == set().union(*map(names_in, checkpoints))
    kept = read_checkpoint(checkpoints[0])
    trained(make, tmp_path / "again", 3)
    again = read_checkpoint(tmp_path / "again" / "checkpoints" / "latest.pt")
    assert_same(kept["strategy"], again["strategy"])


@pytest.mark.slow
def test_a_round_of_one_client_changes_one_clients_files(tmp_path: Path) -> None:
    """The other clients' files are those of the checkpoint before."""
    trained(fsl_sage, tmp_path, 2)
    before = names_in(tmp_path / "checkpoints" / "latest.pt")
    assert len(before) == 2 * CLIENTS  # a head and samples each
    trained(fsl_sage, tmp_path, 3, fraction_train=1 / CLIENTS)
    after = names_in(tmp_path / "checkpoints" / "latest.pt")
    assert len(after) == 2 * CLIENTS
    assert len(after - before) == 2


@pytest.mark.slow
def test_a_checkpoint_goes_with_its_folder(tmp_path: Path) -> None:
    trained(fsl_sage, tmp_path / "one", 2)
    latest = tmp_path / "one" / "checkpoints" / "latest.pt"
    (tmp_path / "moved").mkdir()
    alone = Path(shutil.copy(latest, tmp_path / "moved"))
    with pytest.raises(CheckpointError, match="copy a checkpoint together with its folder tensors"):
        read_checkpoint(alone)
    shutil.copytree(tensors_of(latest), tensors_of(alone))
    assert_same(read_checkpoint(alone)["strategy"], read_checkpoint(latest)["strategy"])
    cut_off = tensors_of(alone) / min(names_in(alone))
    cut_off.write_bytes(cut_off.read_bytes()[:-1])
    with pytest.raises(
        CheckpointError, match=f"one of its tensor files cannot be read .*{cut_off}"
    ):
        read_checkpoint(alone)


def refused(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """Have the disk refuse to deliver a checkpoint."""
    load = torch.load

    def failing(path: Path, *args: object, **options: object) -> object:
        if Path(path) == file:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return load(path, *args, **options)

    monkeypatch.setattr(torch, "load", failing)


@pytest.mark.slow
def test_a_checkpoint_that_the_disk_does_not_deliver_loses_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trained(fsl_sage, tmp_path, 3)
    checkpoints = tmp_path / "checkpoints"
    best, latest = checkpoints / "best.pt", checkpoints / "latest.pt"
    before = names_in(best)
    with monkeypatch.context() as patched:
        refused(patched, best)
        with caplog.at_level(logging.WARNING):
            run = RunDirectory(tmp_path)
            run.checkpoints.resume_from(latest)
            run.checkpoints.tensors.remove_leftovers()
            state = read_checkpoint(latest)
            run.checkpoints.write(latest, {key: state[key] for key in state if key != "file"})
    assert f"{best} cannot be read (OSError); the files in" in caplog.text
    del run, state
    gc.collect()
    assert read_checkpoint(best)["file"] == best
    assert before is not None
    assert before <= there(tmp_path)


@pytest.mark.slow
def test_a_sweep_does_not_begin_again_over_a_checkpoint_that_the_disk_does_not_deliver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(fsl_sage, tmp_path, 1)
    latest = tmp_path / "checkpoints" / "latest.pt"
    refused(monkeypatch, latest)
    with pytest.raises(UnreadableError, match="Input/output error"):
        read_checkpoint(latest)
    run = RunDirectory(run_path(RunConfig(results_dir=str(tmp_path), run_name="mine")))
    run.begin_simulation({"num-supernodes": 4}, resumed=False)
    latest.rename(run.checkpoints.latest)
    monkeypatch.undo()
    refused(monkeypatch, run.checkpoints.latest)
    combination = Combination(RunConfig(results_dir=str(tmp_path), run_name="mine"), "")
    with pytest.raises(ConfigError, match="check the disk, or remove"):
        resume_interrupted(combination, 4)


def test_an_earlier_versions_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    torch.save({"config": {}, "history": [], "strategy": {"clients": {}}}, tmp_path / "old.pt")
    with pytest.raises(CheckpointError, match="written by an earlier version of this package"):
        read_checkpoint(tmp_path / "old.pt")
