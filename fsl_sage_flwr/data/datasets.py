"""Image classification datasets, by name or from a local directory."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import datasets
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

HUB_NAMES = {"cifar10": "uoft-cs/cifar10"}
DATASETS = ("digits", *HUB_NAMES)


class DatasetError(ValueError):
    """The dataset cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class ImageDataset:
    """One split of a dataset, decoded when asked for.

    Attributes
    ----------
    labels : Tensor
        ``(N,)``, int64.
    num_classes : int
        Labels are in ``range(num_classes)``.
    image_shape : tuple of int
        ``(C, H, W)``.
    images : Tensor or datasets.Dataset
        uint8 of shape ``(N, C, H, W)``, or a table with a column of images.
    column : str
        That column's name.
    """

    labels: Tensor
    num_classes: int
    image_shape: tuple[int, int, int]
    images: Tensor | datasets.Dataset
    column: str = ""

    def decode(self, indices: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """Return (uint8 images ``(n, C, H, W)``, labels ``(n,)``) of some or all rows."""
        rows = torch.arange(len(self.labels)) if indices is None else torch.tensor(indices)
        if isinstance(self.images, Tensor):
            return self.images[rows], self.labels[rows]
        table = self.images if indices is None else self.images.select(indices)
        mode = "L" if self.image_shape[0] == 1 else "RGB"
        decoded = [np.asarray(image.convert(mode)) for image in table[self.column]]
        shapes = {image.shape for image in decoded}
        if len(shapes) > 1:
            raise DatasetError(f"images of one size are needed; found {sorted(shapes)[:3]}")
        images = torch.from_numpy(np.stack(decoded)).reshape(len(rows), *self._pixels())
        if mode == "RGB":
            images = images.permute(0, 3, 1, 2).contiguous()
        return images, self.labels[rows]

    def _pixels(self) -> tuple[int, int, int]:
        channels, height, width = self.image_shape
        return (height, width, channels) if channels == 3 else (1, height, width)


@lru_cache(maxsize=4)
def load_images(name: str) -> tuple[ImageDataset, ImageDataset]:
    """Return the training and the test split of a dataset.

    Parameters
    ----------
    name : str
        A name in ``DATASETS``, or the absolute path of a directory that
        ``datasets.load_dataset`` reads, with an image and a label column and the splits
        ``train`` and ``test``.

    Raises
    ------
    DatasetError
        The directory or a split or column of it is missing, or the hub cannot be reached.
    """
    if name == "digits":
        return _digits()
    source = HUB_NAMES.get(name, name)
    if name not in HUB_NAMES and not Path(name).is_dir():
        raise DatasetError(
            f"dataset directory {name!r} does not exist; give {', '.join(DATASETS)} or the "
            "absolute path of a directory"
        )
    try:
        splits = datasets.load_dataset(source)
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"dataset {name!r} cannot be loaded ({error}); without a network give the "
            "absolute path of a local copy"
        ) from error
    missing = [split for split in ("train", "test") if split not in splits]
    if missing:
        raise DatasetError(
            f"dataset {name!r} has no split {missing[0]!r}; its splits are {', '.join(splits)}"
        )
    return _image_dataset(splits["train"], name), _image_dataset(splits["test"], name)


def _digits() -> tuple[ImageDataset, ImageDataset]:
    """Return scikit-learn's 1,797 digits, one fifth of them as the test split."""
    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    train_x, test_x, train_y, test_y = train_test_split(
        images, bunch.target, test_size=0.2, random_state=0, stratify=bunch.target
    )
    train, test = (
        ImageDataset(torch.from_numpy(y).long(), 10, (1, 8, 8), torch.from_numpy(x))
        for x, y in ((train_x, train_y), (test_x, test_y))
    )
    return train, test


def _image_dataset(table: datasets.Dataset, name: str) -> ImageDataset:
    image = [c for c, f in table.features.items() if isinstance(f, datasets.Image)]
    label = [c for c, f in table.features.items() if isinstance(f, datasets.ClassLabel)]
    label += [c for c in ("label", "labels", "fine_label") if c in table.features]
    if not image or not label:
        raise DatasetError(
            f"dataset {name!r} needs an image column and a label column; "
            f"its columns are {', '.join(table.column_names)}"
        )
    if len(table) == 0:
        raise DatasetError(f"dataset {name!r} has a split without examples")
    values = np.asarray(table.with_format("numpy")[label[0]])
    if not np.issubdtype(values.dtype, np.integer):
        raise DatasetError(
            f"the label column {label[0]!r} of dataset {name!r} holds {values.dtype}; whole "
            "numbers are needed: cast it to ClassLabel"
        )
    labels = torch.from_numpy(values.astype(np.int64))
    feature = table.features[label[0]]
    classes = getattr(feature, "num_classes", None) or int(labels.max()) + 1
    if not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise DatasetError(
            f"the labels of dataset {name!r} run from {int(labels.min())} to "
            f"{int(labels.max())}; valid are 0 to {classes - 1}"
        )
    first = table[0][image[0]]
    channels = 1 if first.mode in ("L", "1") else 3
    return ImageDataset(labels, classes, (channels, first.height, first.width), table, image[0])
