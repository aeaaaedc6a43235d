"""One split of an image dataset, decoded on request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from .eight_bits import eight_bits, is_grey
from .errors import DatasetError
from .pictures import name_of, read_images

if TYPE_CHECKING:
    import datasets

# Images decoded per call; one by one, a third of the time is the table's overhead.
AT_ONCE = 256


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
        Column with the person that each example comes from; empty if there is none.
    fitted : bool
        True: every image of the table is resized, centre-cropped and converted to grey or colour to
        match ``image_shape``. False: images of other sizes, and colour images in a grey dataset,
        are refused.
    class_names : tuple of str
        Names of the classes; empty if unknown.
    label_column : str
        Name of the table's label column.
    name : str
        Name of the split in errors.
    """

    labels: Tensor
    num_classes: int
    image_shape: tuple[int, int, int]
    images: Tensor | datasets.Dataset
    column: str = ""
    id_column: str = ""
    fitted: bool = False
    class_names: tuple[str, ...] = ()
    label_column: str = ""
    name: str = "the dataset"

    def decode(self, indices: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """Return (uint8 images ``(n, C, H, W)``, labels ``(n,)``) of some or all rows.

        Raises
        ------
        DatasetError
            The images have different sizes, a grey dataset has a colour image, or an image cannot
            be read or loses its content; the message has its row and its file's name.
        """
        rows = torch.arange(len(self.labels)) if indices is None else torch.tensor(indices)
        if isinstance(self.images, Tensor):
            return self.images[rows], self.labels[rows]
        wanted = range(len(self.labels)) if indices is None else indices
        # Not select, which copies the table's metadata: that takes longer than 50 small images.
        pixels = [
            found
            for first in range(0, len(wanted), AT_ONCE)
            for found in self._pixels_of(self.images, wanted[first : first + AT_ONCE])
        ]
        sizes = {found.shape[:2] for found in pixels}
        if len(sizes) > 1 or sizes - {self.image_shape[1:]}:
            expected = {self.image_shape[1:]}
            raise DatasetError(
                f"images of one size are needed; found {sorted(sizes | expected)[:3]} (height, "
                "width): resize them, or use a dataset that resizes (README: Datasets)"
            )
        images = torch.from_numpy(np.stack(pixels))
        images = images[:, None] if images.dim() == 3 else images.permute(0, 3, 1, 2)
        return images.contiguous(), self.labels[rows]

    def natural_ids(self) -> Tensor | None:
        """Return a number for each example's person, or None if unknown.

        Returns
        -------
        Tensor or None
            ``(N,)``, int64, in the order of the sorted names. All examples without a name count as
            one person.
        """
        if not self.id_column or isinstance(self.images, Tensor):
            return None
        names: Iterable[object] = self.images[self.id_column][:]
        texts = [str(name) for name in names]
        numbers = {text: number for number, text in enumerate(sorted(set(texts)))}
        return torch.tensor([numbers[text] for text in texts])

    def _pixels_of(self, table: datasets.Dataset, rows: Sequence[int]) -> list[NDArray[np.uint8]]:
        found = []
        for row, image in zip(rows, read_images(table, self.column, rows, self.name), strict=True):
            try:
                found.append(self._pixels(image))
            except DatasetError as error:
                who = name_of(table, self.column, row, self.name)
                raise DatasetError(f"{who}: {error}") from error
        return found

    def _pixels(self, image: Image) -> NDArray[np.uint8]:
        """Return ``(H, W)`` for a grey dataset, ``(H, W, 3)`` for a colour one."""
        grey, size = self.image_shape[0] == 1, self.image_shape[:0:-1]
        image = eight_bits(image)
        if self.fitted and image.size != size:
            image = image.resize(size, box=_centre(image.size, size))
        elif grey and not self.fitted and not is_grey(image):
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
