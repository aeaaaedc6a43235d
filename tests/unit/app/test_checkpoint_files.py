"""What a strategy keeps in files, in checkpoints: shared, proportional to a round, complete."""

import gc
import shutil
from pathlib import Path

import pytest
import torch

from fsl_sage_flwr.app.checkpoint import CheckpointError, read_checkpoint
from fsl_sage_flwr.app.results import names_in, tensors_of

from ...rows import rows
from ...runs import assert_same
from ...tasks import CLIENTS
from .trained import Make, fsl_sage, split_fed, trained

both = rows("make", [fsl_sage, split_fed], lambda make: make is fsl_sage)


def there(directory: Path) -> set[str]:
    gc.collect()
    return {path.name for path in (directory / "checkpoints" / "tensors").glob("*")}


@both
def test_a_run_that_goes_on_is_what_it_would_have_been(tmp_path: Path, make: Make) -> None:
    whole = trained(make, tmp_path / "whole", 4)
    trained(make, tmp_path / "part", 3)
    left = tmp_path / "part" / "checkpoints" / "tensors" / "left-by-a-killed-one.safetensors"
    left.touch()
    # Clients begin their optimizers anew: of V1 the server halves' go on.
    rest = trained(make, tmp_path / "part", 4)
    assert not left.exists()
    if make is fsl_sage:
        assert_same(rest, whole)
    assert_same(
        read_checkpoint(tmp_path / "whole" / "checkpoints" / "latest.pt")["strategy"].keys(),
        read_checkpoint(tmp_path / "part" / "checkpoints" / "latest.pt")["strategy"].keys(),
    )


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


def test_a_round_of_one_client_changes_one_clients_files(tmp_path: Path) -> None:
    """The other clients' files are those of the checkpoint before."""
    trained(fsl_sage, tmp_path, 2)
    before = names_in(tmp_path / "checkpoints" / "latest.pt")
    assert len(before) == 2 * CLIENTS  # a head and samples each
    trained(fsl_sage, tmp_path, 3, fraction_train=1 / CLIENTS)
    after = names_in(tmp_path / "checkpoints" / "latest.pt")
    assert len(after) == 2 * CLIENTS
    assert len(after - before) == 2


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
    with pytest.raises(CheckpointError, match=f"a file that it names cannot be read .*{cut_off}"):
        read_checkpoint(alone)


def test_an_earlier_versions_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    torch.save({"config": {}, "history": [], "strategy": {"clients": {}}}, tmp_path / "old.pt")
    with pytest.raises(CheckpointError, match="written by an earlier version of this package"):
        read_checkpoint(tmp_path / "old.pt")
