"""A split that is decoded in a file has the images of one that is decoded as needed."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import pytest
import torch

from fsl_sage_flwr.data import (
    DatasetError,
    Distribution,
    FederatedImages,
    ImageDataset,
    image_dataset,
    load_images,
)
from fsl_sage_flwr.data.decoding import decoded_once

from .test_datasets import pixels, write

pytestmark = pytest.mark.usefixtures("own_datasets")

COUNT = 12
LABELS = [k % 3 for k in range(COUNT)]


def split(folder: Path, shape: tuple[int, ...] = (5, 6, 3)) -> ImageDataset:
    arrays = pixels(COUNT, shape)
    train, _ = load_images(
        write(folder / "d", {"train": (arrays, LABELS), "test": (arrays, LABELS)})
    )
    return train


@pytest.fixture
def decoding(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by one with every image that is decoded."""
    seen: list[int] = []
    decode = image_dataset._pixels
    monkeypatch.setattr(
        image_dataset, "_pixels", lambda *given: (seen.append(1), decode(*given))[1]
    )
    return seen


@pytest.mark.parametrize("shape", [(5, 6, 3), (5, 6), (5, 6, 4)], ids=["colour", "grey", "alpha"])
def test_it_has_the_same_images(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = split(tmp_path, shape)
    once = decoded_once(images)
    assert once.holds_pixels
    for rows in (None, [7, 3, 7]):
        for found, expected in zip(once.decode(rows), images.decode(rows), strict=True):
            assert torch.equal(found, expected)


def test_images_that_are_made_to_fit_are_kept_so(tmp_path: Path) -> None:
    arrays = [*pixels(3, (12, 9, 3)), *pixels(3, (8, 30, 3))]
    labels = [0, 1, 2, 0, 1, 2]
    table = {"train": (arrays[:5], labels[:5]), "validation": (arrays[5:], labels[5:])}
    train, _ = load_images(f"imagenet:{write(tmp_path / 'd', table)}")
    assert train.fitted
    assert torch.equal(decoded_once(train).decode()[0], train.decode()[0])


def test_a_second_time_nothing_is_decoded(tmp_path: Path, decoding: list[int]) -> None:
    images = split(tmp_path)
    decoded_once(images).decode()
    assert len(decoding) == COUNT
    decoded_once(images).decode()
    assert len(decoding) == COUNT


def test_who_comes_second_waits_for_the_first(tmp_path: Path, decoding: list[int]) -> None:
    images = split(tmp_path)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: decoded_once(images), range(4)))
    assert len(decoding) == COUNT


def test_a_client_alone_has_only_its_part_decoded(tmp_path: Path, decoding: list[int]) -> None:
    images = split(tmp_path)
    parts = FederatedImages(images, Distribution(), torch.device("cpu"))
    first = parts.part(0, 3)
    assert len(decoding) == COUNT // 3
    others = [parts.part(k, 3) for k in (1, 2)]
    assert len(decoding) == COUNT // 3 + COUNT
    again = FederatedImages(images, Distribution(), torch.device("cpu"))
    # The one that is read first there is another one.
    for k, part in ((2, others[1]), (0, first), (1, others[0])):
        assert torch.equal(again.part(k, 3).images, part.images)
        assert torch.equal(again.part(k, 3).labels, part.labels)


def test_an_image_of_another_size_is_said(tmp_path: Path) -> None:
    arrays = [*pixels(1), *pixels(1, shape=(7, 6, 3))]
    table = {"train": (arrays, [0, 1]), "test": (arrays[:1], [0])}
    train, _ = load_images(write(tmp_path / "d", table))
    with pytest.raises(DatasetError, match=r"images of one size are needed; found .*5, 6.*7, 6"):
        decoded_once(train)


def test_what_is_in_memory_stays_there(tmp_path: Path) -> None:
    digits, _ = load_images("digits")
    assert decoded_once(digits) is digits
    once = decoded_once(split(tmp_path))
    assert decoded_once(once) is once


def test_a_large_split_is_decoded_as_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = split(tmp_path)
    monkeypatch.setattr("fsl_sage_flwr.data.decoding.LARGEST", COUNT * 5 * 6 * 3 - 1)
    assert decoded_once(images) is images
    monkeypatch.setattr("fsl_sage_flwr.data.decoding.LARGEST", COUNT * 5 * 6 * 3)
    assert decoded_once(images) is not images


def test_no_file_is_made_where_none_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = split(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: False)
        assert decoded_once(images) is images
    datasets.disable_caching()
    try:
        assert decoded_once(images) is images
    finally:
        datasets.enable_caching()
