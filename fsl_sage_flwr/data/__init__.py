"""Datasets, their division among clients, and batches."""

from .augmentation import AUGMENTATIONS, augment, normalize
from .client_data import ClientData, FederatedImages, NodeImages
from .datasets import is_here, load_images, load_own_images
from .image_dataset import DatasetError, ImageDataset
from .part_files import PartFiles
from .partitions import (
    DISTRIBUTION_KEYS,
    DISTRIBUTIONS,
    Distribution,
    partition_indices,
    register_distribution,
)
from .randomised_response import randomised_response
from .registry import DATASETS, DatasetEntry, local_copy, register_dataset

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "DISTRIBUTIONS",
    "DISTRIBUTION_KEYS",
    "ClientData",
    "DatasetEntry",
    "DatasetError",
    "Distribution",
    "FederatedImages",
    "ImageDataset",
    "NodeImages",
    "PartFiles",
    "augment",
    "is_here",
    "load_images",
    "load_own_images",
    "local_copy",
    "normalize",
    "partition_indices",
    "randomised_response",
    "register_dataset",
    "register_distribution",
]
