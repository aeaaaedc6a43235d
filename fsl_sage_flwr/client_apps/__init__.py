"""ClientApps: what a node does with each algorithm's messages."""

from ..nodes.app import build_client_app
from ..nodes.client_folder import own_data_folder, shared_folder
from ..nodes.injected_faults import injected_faults_mod
from ..nodes.label_secret import label_secret_mod
from ..nodes.smashed_noise import smashed_noise_mod

__all__ = [
    "build_client_app",
    "injected_faults_mod",
    "label_secret_mod",
    "own_data_folder",
    "shared_folder",
    "smashed_noise_mod",
]
