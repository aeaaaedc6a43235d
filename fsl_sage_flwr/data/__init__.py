"""Datasets, their division among clients, and batches."""

from .augmentation import AUGMENTATIONS, augment, normalize
from .client_data import ClientData, FederatedImages
from .datasets import DATASETS, DatasetError, ImageDataset, load_images
from .partitions import DISTRIBUTIONS, Distribution, partition_indices

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "DISTRIBUTIONS",
    "ClientData",
    "DatasetError",
    "Distribution",
    "FederatedImages",
    "ImageDataset",
    "augment",
    "load_images",
    "normalize",
    "partition_indices",
]
