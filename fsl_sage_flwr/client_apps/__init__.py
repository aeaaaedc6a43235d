"""ClientApps: what a node does with each algorithm's messages."""

from .builder import build_client_app
from .smashed_noise import smashed_noise_mod

__all__ = ["build_client_app", "smashed_noise_mod"]
