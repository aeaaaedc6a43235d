"""``fsl-sage runs``: list the runs under a directory, of every state."""

from .options import RESULTS, Directory, Imports
from .printing import consoles, say, wide


def runs_command(directory: Directory = RESULTS, imports: Imports = None) -> int:
    """List the runs under a directory: status, rounds, accuracy, bytes, age.

    Active, failed and interrupted runs are included. Age: time since a run last wrote a file.
    """
    from ..analysis.load_results import read_runs
    from ..analysis.run_table import reasons, run_table

    console, errors = consoles()
    runs = read_runs(directory, lambda line: say(errors, line))
    wide(console).print(run_table(runs))
    for line in reasons(runs):
        say(errors, line)
    return 0
