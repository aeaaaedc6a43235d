"""The words of the ``fsl-sage`` command; they are read before torch and Flower are imported."""

from .absent_directory import absent_directory
from .parser import parser
from .unknown_key import unknown_key

__all__ = ["absent_directory", "parser", "unknown_key"]
