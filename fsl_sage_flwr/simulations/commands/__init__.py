"""``fsl-sage results``, ``plot`` and ``report``: what is made of finished runs."""

from typing import Any

from .plot import add_plot_command
from .report import add_report_command
from .results import add_results_command


def add_result_commands(commands: Any) -> None:
    """Add the three commands to the parser's."""
    add_results_command(commands)
    add_plot_command(commands)
    add_report_command(commands)


__all__ = ["add_result_commands"]
