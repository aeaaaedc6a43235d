"""Decode a split's images once for all processes of a machine, and for its later runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

import PIL
from filelock import FileLock
from PIL.Image import Image
from torch import Tensor

from .image_dataset import AT_ONCE, ImageDataset, pixels_of

PIXELS = "pixels"
# A split that takes more is decoded part by part, in each process again: its file would take
# more of a disk than nobody asked for, and a client's part is seldom needed twice by then.
LARGEST = 2**31


def decoded_once(dataset: ImageDataset) -> ImageDataset:
    """Return the same split with its images decoded in a file, which processes share.

    The file is one of ``datasets``' own cache, beside the table's, which finds it again by what
    the table is. One process makes it, while the others wait.

    Returns
    -------
    ImageDataset
        The given one if there is nothing to decode, the pixels are more than ``LARGEST`` bytes,
        or the table is in no file or in a directory that cannot be written.

    Raises
    ------
    DatasetError
        The images have different sizes, or a grey dataset has a colour image.
    """
    import datasets

    table = dataset.images
    if isinstance(table, Tensor) or dataset.holds_pixels or not table.cache_files:
        return dataset
    directory = Path(table.cache_files[0]["filename"]).parent
    too_large = len(table) * prod(dataset.image_shape) > LARGEST
    if too_large or not datasets.is_caching_enabled() or not os.access(directory, os.W_OK):
        return dataset
    with FileLock(directory / "decoded-once.lock"):
        decoded = table.map(
            _decoded,
            batched=True,
            batch_size=AT_ONCE,
            input_columns=[dataset.column],
            remove_columns=table.column_names,
            features=datasets.Features({PIXELS: datasets.Value("binary")}),
            # The file is found by them, and a JPEG's pixels are its decoder's.
            fn_kwargs={
                "image_shape": dataset.image_shape,
                "fitted": dataset.fitted,
                "decoder": PIL.__version__,
            },
        )
    return replace(dataset, images=decoded, column=PIXELS, holds_pixels=True)


def _decoded(
    images: Sequence[Image], image_shape: tuple[int, int, int], fitted: bool, decoder: str
) -> dict[str, list[bytes]]:
    found = pixels_of(images, image_shape, fitted=fitted)
    return {PIXELS: [pixels.tobytes() for pixels in found]}
