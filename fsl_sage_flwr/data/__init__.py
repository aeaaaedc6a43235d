"""Datasets, their division among clients, and batches."""

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
    partition_indices,
    register_distribution,
)
from .private_copies import private_copies
from .randomised_response import randomised_response
from .registry import DATASETS, DatasetEntry, local_copy, register_dataset
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
    "FederatedImages",
    "ImageDataset",
    "NodeImages",
    "augment",
    "check_images",
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
    "register_dataset",
    "register_distribution",
]
