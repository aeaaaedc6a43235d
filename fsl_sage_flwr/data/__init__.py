"""Datasets, their division among clients, and batches."""

from typing import TYPE_CHECKING

from ..registries import renamed
from .augmentation import AUGMENTATIONS, augment, normalize
from .client_data import ClientData, FederatedImages, NodeImages
from .datasets import check_images, is_here, load_images, load_own_images
from .decoded_partition_cache import DecodedPartitionCache
from .errors import DatasetError
from .identity import DataIdentity, identity_of_images, identity_of_texts
from .image_dataset import ImageDataset
from .partitions import (
    DISTRIBUTION_KEYS,
    DISTRIBUTIONS,
    Distribution,
    DistributionEntry,
    distribution_keys,
    partition_indices,
)
from .private_copies import private_copies
from .randomised_response import randomised_response
from .registry import DATASETS, DatasetEntry, local_copy
from .tables import read_tables

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "DISTRIBUTIONS",
    "DISTRIBUTION_KEYS",
    "ClientData",
    "DataIdentity",
    "DatasetEntry",
    "DatasetError",
    "DecodedPartitionCache",
    "Distribution",
    "DistributionEntry",
    "FederatedImages",
    "ImageDataset",
    "NodeImages",
    "augment",
    "check_images",
    "distribution_keys",
    "identity_of_images",
    "identity_of_texts",
    "is_here",
    "load_images",
    "load_own_images",
    "local_copy",
    "normalize",
    "partition_indices",
    "private_copies",
    "randomised_response",
    "read_tables",
]

if not TYPE_CHECKING:  # a type checker would take any name for one that exists
    __getattr__ = renamed(
        register_dataset="DATASETS.register(name, entry)",
        register_distribution="DISTRIBUTIONS.register(name, DistributionEntry(factory, keys))",
    )
