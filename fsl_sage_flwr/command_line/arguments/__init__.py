"""Arguments of each command of ``fsl-sage``, one command per file."""

from .compare import add_compare_arguments
from .cuts import add_cuts_arguments
from .data import add_data_arguments
from .generate import add_generate_arguments
from .keys import add_keys_arguments
from .leakage import add_leakage_arguments
from .list import add_list_arguments
from .plot import add_plot_arguments
from .report import add_report_arguments
from .results import add_results_arguments
from .run import add_run_arguments
from .runs import add_runs_arguments
from .sweep import add_sweep_arguments
from .watch import add_watch_arguments

# In the order of the help text.
ARGUMENTS = (
    add_run_arguments,
    add_sweep_arguments,
    add_runs_arguments,
    add_watch_arguments,
    add_compare_arguments,
    add_results_arguments,
    add_plot_arguments,
    add_report_arguments,
    add_list_arguments,
    add_keys_arguments,
    add_cuts_arguments,
    add_data_arguments,
    add_leakage_arguments,
    add_generate_arguments,
)

__all__ = ["ARGUMENTS"]
