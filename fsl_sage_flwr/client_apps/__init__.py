"""ClientApps: what a node does with each algorithm's messages."""

from .builder import build_client_app
from .client_folder import own_data_folder, shared_folder
from .label_secret import label_secret_mod
from .smashed_noise import smashed_noise_mod

__all__ = [
    "build_client_app",
    "label_secret_mod",
    "own_data_folder",
    "shared_folder",
    "smashed_noise_mod",
]
