"""A part that another process has decoded is read, and is what it would be without."""

import errno
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from fsl_sage_flwr.data import (
    DatasetError,
    DecodedPartitionCache,
    Distribution,
    FederatedImages,
    ImageDataset,
    load_images,
)

from .test_datasets import pixels, write

pytestmark = pytest.mark.usefixtures("own_datasets")

CLIENTS = 3
LABELS = [k % 3 for k in range(12)]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the row numbers of all that is decoded."""
    seen: list[int] = []
    decode = ImageDataset.decode

    def watched(self: ImageDataset, indices: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        seen.extend(indices)
        return decode(self, indices)

    monkeypatch.setattr(ImageDataset, "decode", watched)
    return seen


def split(folder: Path, shape: tuple[int, ...] = (5, 6, 3)) -> ImageDataset:
    arrays = pixels(len(LABELS), shape)
    table = {"train": (arrays, LABELS), "test": (arrays, LABELS)}
    train, _ = load_images(write(folder / "d", table))
    return train


def process(
    images: ImageDataset, folder: Path | None, validation_fraction: float = 0.0
) -> FederatedImages:
    """Return what a process that serves clients has."""
    files = DecodedPartitionCache(folder) if folder is not None else None
    return FederatedImages(images, Distribution(), torch.device("cpu"), validation_fraction, files)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(5, 6, 3), (5, 6)], ids=["colour", "grey"])
@pytest.mark.parametrize("fraction", [0.0, 0.25])
def test_a_second_process_decodes_nothing(
    tmp_path: Path, decoded: list[int], shape: tuple[int, ...], fraction: float
) -> None:
    images, folder = split(tmp_path, shape), tmp_path / "parts"
    alone, first, second = (process(images, path, fraction) for path in (None, folder, folder))
    for client in range(CLIENTS):
        expected = alone.part(client, CLIENTS), alone.validation_part(client, CLIENTS)
        decoded.clear()
        for each, count in ((first, 4), (second, 0)):
            found = each.part(client, CLIENTS), each.validation_part(client, CLIENTS)
            assert len(decoded) == count
            decoded.clear()
            for ours, theirs in zip(found, expected, strict=True):
                assert torch.equal(ours.images, theirs.images)
                assert ours.images.stride() == theirs.images.stride()  # chooses kernels
                assert torch.equal(ours.labels, theirs.labels)


def test_another_number_of_clients_is_another_division(tmp_path: Path) -> None:
    images, folder = split(tmp_path), tmp_path / "parts"
    for clients in (3, 4):
        part = process(images, folder).part(0, clients)
        assert torch.equal(part.images, process(images, None).part(0, clients).images)


def test_only_the_client_who_has_a_bad_image_fails(tmp_path: Path) -> None:
    arrays = pixels(len(LABELS))
    arrays[7] = pixels(1, (7, 6, 3))[0]
    table = {"train": (arrays, LABELS), "test": (arrays[:1], [0])}
    train, _ = load_images(write(tmp_path / "d", table))
    owner = next(k for k in range(CLIENTS) if 7 in (process(train, None).rows(k, CLIENTS) or ()))
    for _ in range(2):
        each = process(train, tmp_path / "parts")
        for client in range(CLIENTS):
            if client == owner:
                with pytest.raises(DatasetError, match="images of one size are needed"):
                    each.part(client, CLIENTS)
            else:
                assert len(each.part(client, CLIENTS).labels) == 4


def test_a_full_disk_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, tensors: object) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fsl_sage_flwr.data.decoded_partition_cache.write_tensors", full)
    images, folder = split(tmp_path), tmp_path / "parts"
    part = process(images, folder).part(0, CLIENTS)
    assert torch.equal(part.images, process(images, None).part(0, CLIENTS).images)
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    part = process(split(tmp_path), tmp_path / "file" / "parts").part(0, CLIENTS)
    assert len(part.labels) == 4


def test_a_second_process_computes_no_partition_of_what_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits, _ = load_images("digits")
    first = process(digits, tmp_path / "parts").part(0, CLIENTS)
    monkeypatch.setattr(FederatedImages, "rows", None)
    second = process(digits, tmp_path / "parts").part(0, CLIENTS)
    assert torch.equal(first.images, second.images)
    assert first.images.stride() == second.images.stride()  # chooses kernels, and so bits
    assert torch.equal(first.labels, second.labels)
