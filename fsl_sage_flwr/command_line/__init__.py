"""The words of the ``fsl-sage`` command; they are read before torch and Flower are imported."""

from .parser import parser

__all__ = ["parser"]
