"""Models that a run can name."""

from typing import TYPE_CHECKING

from ..registries import renamed
from .catalogue import MODELS, ModelEntry, build_model, tail_name

__all__ = ["MODELS", "ModelEntry", "build_model", "tail_name"]

if not TYPE_CHECKING:  # a type checker would take any name for one that exists
    __getattr__ = renamed(register_model="MODELS.register(name, entry)")
