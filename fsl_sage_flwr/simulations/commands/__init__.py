"""The commands of ``fsl-sage``, one per file."""

from .compare import add_compare_command
from .cuts import add_cuts_command
from .data import add_data_command
from .generate import add_generate_command
from .leakage import add_leakage_command
from .plot import add_plot_command
from .report import add_report_command
from .results import add_results_command
from .run import add_run_command
from .runs import add_runs_command
from .sweep import add_sweep_command
from .watch import add_watch_command

# In the order of the help text.
COMMANDS = (
    add_run_command,
    add_sweep_command,
    add_runs_command,
    add_watch_command,
    add_compare_command,
    add_results_command,
    add_plot_command,
    add_report_command,
    add_cuts_command,
    add_data_command,
    add_leakage_command,
    add_generate_command,
)

__all__ = ["COMMANDS"]
