"""ClientApps: what a node does with each algorithm's messages."""

from .builder import build_client_app

__all__ = ["build_client_app"]
