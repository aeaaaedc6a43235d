"""Catalogue of models that a run can name."""

from .catalogue import CATALOGUE, ModelEntry, build_model, register_model

__all__ = ["CATALOGUE", "ModelEntry", "build_model", "register_model"]
