"""One split of an image dataset; its images are decoded on request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

if TYPE_CHECKING:
    import datasets

GREY_MODES = ("1", "L")
# Images that are decoded at once: one by one a third of the time is the table's.
AT_ONCE = 256


class DatasetError(ValueError):
    """The dataset cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class ImageDataset:
    """One split of a dataset.

    Attributes
    ----------
    labels : Tensor
        ``(N,)``, int64.
    num_classes : int
        Labels are in ``range(num_classes)``.
    image_shape : tuple of int
        ``(C, H, W)``; ``C`` is 1 or 3.
    images : Tensor or datasets.Dataset
        uint8 of shape ``(N, C, H, W)``, or a table with a column of images.
    column : str
        Name of the table's image column.
    id_column : str
        Column that names the person each example comes from; empty if there is none.
    fitted : bool
        True: every image of the table is resized, centre-cropped and made grey or colour, so
        that it has ``image_shape``. False: an image of another size is refused, and so is a
        colour image in a grey dataset.
    class_names : tuple of str
        What the labels are called; empty if the data do not say so.
    holds_pixels : bool
        True: the table's column holds the bytes of :func:`pixels_of` (:func:`decoded_once`).
    """

    labels: Tensor
    num_classes: int
    image_shape: tuple[int, int, int]
    images: Tensor | datasets.Dataset
    column: str = ""
    id_column: str = ""
    fitted: bool = False
    class_names: tuple[str, ...] = ()
    holds_pixels: bool = False

    def decode(self, indices: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """Return (uint8 images ``(n, C, H, W)``, labels ``(n,)``) of some or all rows.

        Raises
        ------
        DatasetError
            The images have different sizes, or a grey dataset has a colour image.
        """
        rows = torch.arange(len(self.labels)) if indices is None else torch.tensor(indices)
        if isinstance(self.images, Tensor):
            return self.images[rows], self.labels[rows]
        wanted = range(len(self.labels)) if indices is None else indices
        # Not select, which copies what the table says about itself: longer than 50 small images.
        cells = (
            cell
            for first in range(0, len(wanted), AT_ONCE)
            for cell in self.images[wanted[first : first + AT_ONCE]][self.column]
        )
        if self.holds_pixels:
            pixels = [np.frombuffer(cell, np.uint8).reshape(self._pixels_shape) for cell in cells]
        else:
            pixels = pixels_of(cells, self.image_shape, fitted=self.fitted)
        images = torch.from_numpy(np.stack(pixels))
        images = images[:, None] if images.dim() == 3 else images.permute(0, 3, 1, 2)
        return images.contiguous(), self.labels[rows]

    def natural_ids(self) -> Tensor | None:
        """Return a number for the person each example comes from; None if unknown.

        Returns
        -------
        Tensor or None
            ``(N,)``, int64, numbered in the order of the sorted names. All examples without
            a name count as one person.
        """
        if not self.id_column or isinstance(self.images, Tensor):
            return None
        names: Iterable[object] = self.images[self.id_column][:]
        texts = [str(name) for name in names]
        numbers = {text: number for number, text in enumerate(sorted(set(texts)))}
        return torch.tensor([numbers[text] for text in texts])

    @property
    def _pixels_shape(self) -> tuple[int, ...]:
        channels, *size = self.image_shape
        return (*size,) if channels == 1 else (*size, channels)


def pixels_of(
    images: Iterable[Image], image_shape: tuple[int, int, int], *, fitted: bool
) -> list[NDArray[np.uint8]]:
    """Return each image's pixels, ``(H, W)`` for a grey dataset, ``(H, W, 3)`` for a colour one.

    Parameters
    ----------
    images : iterable of Image
        Some of a dataset's images.
    image_shape, fitted : tuple of int, bool
        As in :class:`ImageDataset`.

    Raises
    ------
    DatasetError
        The images have different sizes, or a grey dataset has a colour image.
    """
    channels, height, width = image_shape
    pixels = [_pixels(image, channels == 1, (width, height), fitted) for image in images]
    sizes = {found.shape[:2] for found in pixels}
    expected = {(height, width)}
    if sizes - expected:
        raise DatasetError(
            f"images of one size are needed; found {sorted(sizes | expected)[:3]} (height, "
            "width): resize them, or use a dataset that resizes (README: Datasets)"
        )
    return pixels


def _pixels(image: Image, grey: bool, size: tuple[int, int], fitted: bool) -> NDArray[np.uint8]:
    if fitted and image.size != size:
        image = image.resize(size, box=_centre(image.size, size))
    elif grey and not fitted and image.mode not in GREY_MODES:
        raise DatasetError(
            f"a colour image (mode {image.mode}) is among grey ones; make them all grey or all "
            "colour"
        )
    return np.asarray(image.convert("L" if grey else "RGB"))


def _centre(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the largest box in the centre of an image with the proportions of ``wanted``."""
    scale = min(size[0] / wanted[0], size[1] / wanted[1])
    width, height = scale * wanted[0], scale * wanted[1]
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return left, top, left + width, top + height
