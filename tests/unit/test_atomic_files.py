"""A file is the old one or the new one, and an error of the disk is one line."""

import errno
import itertools
import os
import zlib
from pathlib import Path

import pytest
from safetensors import SafetensorError

from fsl_sage_flwr import atomic_files as whole_files
from fsl_sage_flwr.atomic_files import DiskError, atomic_write, checksum_of, explain_disk_errors


def from_torch() -> None:
    """PyTorch raises another error over the disk's."""
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError:
        raise RuntimeError("unexpected pos 704 vs 598")  # noqa: B904


def from_safetensors() -> None:
    raise SafetensorError("Error while serializing: I/O error: whatever (os error 28)")


def from_python() -> None:
    raise OSError(errno.EROFS, "Read-only file system")


@pytest.mark.parametrize(
    ("fail", "said"),
    [
        (from_torch, "No space left on device); make room there"),
        (from_safetensors, "No space left on device); make room there"),
        (from_python, "Read-only file system); make it writable"),
    ],
)
def test_whoever_was_writing_the_reason_and_the_fix_are_in_one_line(fail, said) -> None:
    with pytest.raises(DiskError) as caught, explain_disk_errors(Path("/a/file")):
        fail()
    assert f"/a/file cannot be written ({said}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [RuntimeError("a shape"), SafetensorError("a dtype"), OSError()])
def test_what_is_not_the_disks_is_raised_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, explain_disk_errors(Path("/a/file")):
        raise error
    assert caught.value is error


def test_a_disk_that_does_not_keep_the_new_file_leaves_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    (tmp_path / "it").write_text("old", encoding="utf-8")
    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(DiskError, match=r"/it cannot be written"),
        atomic_write(tmp_path / "it") as file,
    ):
        file.write_text("new", encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["it"]
    assert (tmp_path / "it").read_text(encoding="utf-8") == "old"


def test_the_checksum_is_zips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for size, chunk in itertools.product((0, 7, 1000), (7, 2**20)):
        content = bytes(range(256)) * size
        (tmp_path / "it").write_bytes(content)
        monkeypatch.setattr(whole_files, "CHUNK", chunk)
        assert checksum_of(tmp_path / "it") == f"{zlib.crc32(content):08x}"
