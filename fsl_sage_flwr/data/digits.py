"""Load handwritten digits, which are part of the package: real images without a download."""

import json
import zlib
from base64 import b64decode
from pathlib import Path

import numpy as np
import torch

from .image_dataset import ImageDataset

# Scikit-learn's digits in the order of its split. Importing scikit-learn for them takes a second
# or two of every process, and a deployment starts a process per message.
_STORED = Path(__file__).with_suffix(".json")
_BRIGHTEST = 16  # of a stored pixel


def digits() -> tuple[ImageDataset, ImageDataset]:
    """Return the 1,797 digits of 8x8 pixels, one fifth of them as the test split."""
    stored = json.loads(_STORED.read_text(encoding="utf-8"))
    pixels = np.frombuffer(zlib.decompress(b64decode(stored["images"])), np.uint8)
    images = np.rint(pixels.reshape(-1, 8, 8) * (255 / _BRIGHTEST)).astype(np.uint8)[:, None]
    labels = torch.tensor([int(label) for label in stored["labels"]])
    # Rows are taken by their numbers, which gives the axis of one channel the stride 1: PyTorch
    # chooses the order of a convolution's additions by it, and so the last bits of every result.
    train, test = (
        ImageDataset(labels[rows], 10, (1, 8, 8), torch.from_numpy(images[rows]))
        for rows in np.split(np.arange(len(images)), [stored["training"]])
    )
    return train, test
