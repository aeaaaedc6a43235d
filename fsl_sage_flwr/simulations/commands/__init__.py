"""The commands of ``fsl-sage``, one per file."""

import argparse
from collections.abc import Callable

from rich.console import Console

from .compare import compare_command
from .cuts import cuts_command
from .data import data_command
from .generate import generate_command
from .leakage import leakage_command
from .list import list_command
from .plot import plot_command
from .report import report_command
from .results import results_command
from .run import run_command
from .runs import runs_command
from .sweep import sweep_command
from .watch import watch_command

Command = Callable[[argparse.Namespace, Console, Console], int]
"""From arguments, and consoles for results and for errors, to an exit status."""

COMMANDS: dict[str, Command] = {
    "run": run_command,
    "sweep": sweep_command,
    "runs": runs_command,
    "watch": watch_command,
    "compare": compare_command,
    "results": results_command,
    "plot": plot_command,
    "report": report_command,
    "list": list_command,
    "cuts": cuts_command,
    "data": data_command,
    "leakage": leakage_command,
    "generate": generate_command,
}

__all__ = ["COMMANDS"]
