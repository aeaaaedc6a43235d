"""The ``fsl-sage`` command, one file per command: its arguments, and what it does.

The words are parsed without torch, Flower or pandas, which take seconds to import: each command
imports them where it runs.
"""

from .entry import main

__all__ = ["main"]
