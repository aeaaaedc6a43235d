"""The words of the ``fsl-sage`` command; they are read before torch and Flower are imported."""

from .parser import parser
from .unknown_key import unknown_key

__all__ = ["parser", "unknown_key"]
