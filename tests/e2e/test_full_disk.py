"""A disk that becomes full in mid-run: a real one, of a megabyte and a half."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fsl_sage_flwr.atomic_files import DiskError
from fsl_sage_flwr.runs.checkpoint import read_checkpoint
from fsl_sage_flwr.runs.checkpoint_files import names_in

from ..runs import assert_same
from ..unit.runs.trained import fsl_sage, trained

pytestmark = pytest.mark.e2e


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1536k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, check=False).returncode != 0:
        pytest.skip("only root may mount a disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)  # what was read is mapped


@pytest.mark.parametrize("free", [0, 6, 20])
def test_a_run_on_a_full_disk_ends_in_one_line_and_goes_on_when_there_is_room(
    disk: Path, tmp_path: Path, free: int
) -> None:
    """Of `free` pages of 4 KiB: from none to nearly what a round needs."""
    whole = trained(fsl_sage, tmp_path / "whole", 4)
    trained(fsl_sage, disk, 2)
    latest = disk / "checkpoints" / "latest.pt"
    before = latest.read_bytes()
    left = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - free * 4096
    (disk / "somebody's").write_bytes(bytes(left))
    with pytest.raises(DiskError, match="No space left on device") as caught:
        trained(fsl_sage, disk, 4)
    assert "\n" not in str(caught.value)
    rows = (disk / "history.csv").read_text(encoding="utf-8").splitlines()
    assert all(row.count(",") == rows[0].count(",") for row in rows)
    assert latest.read_bytes() == before
    assert len(read_checkpoint(latest)["history"]) == 2
    (disk / "somebody's").unlink()
    assert_same(trained(fsl_sage, disk, 4), whole)
    there = {path.name for path in (disk / "checkpoints" / "tensors").iterdir()}
    assert there == set().union(*map(names_in, latest.parent.glob("*.pt")))
    assert not list(disk.rglob("*.part"))
