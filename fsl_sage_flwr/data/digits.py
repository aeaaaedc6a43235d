"""Load scikit-learn's handwritten digits: real images without a download."""

import numpy as np
import torch

from .image_dataset import ImageDataset


def digits() -> tuple[ImageDataset, ImageDataset]:
    """Return the 1,797 digits of 8x8 pixels, one fifth of them as the test split."""
    # Imported here because importing scikit-learn takes one CPU-second, and a deployment starts a
    # process per message. Only runs on this dataset need it.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

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
