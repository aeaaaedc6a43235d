"""Parse the words of the ``fsl-sage`` command before torch and Flower are imported."""

from .absent_directory import absent_directory
from .parser import parser
from .standard_output import OUTPUT_CLOSED, forget_output, standard_output
from .unknown_key import may_be_extended, unknown_key

__all__ = [
    "OUTPUT_CLOSED",
    "absent_directory",
    "forget_output",
    "may_be_extended",
    "parser",
    "standard_output",
    "unknown_key",
]
