"""``fsl-sage watch``: show live curves of the runs under a directory."""

from .options import RESULTS, Directory, Imports
from .printing import consoles, say


def watch_command(directory: Directory = RESULTS, imports: Imports = None) -> int:
    """Show live curves of the runs under a directory.

    Draws in the terminal until no run is active. Ctrl-C ends the watching, not the runs.
    """
    from ..analysis.run_table import reasons
    from ..analysis.watching import watch

    console, errors = consoles()
    try:
        runs = watch(directory, console, say=lambda line: say(errors, line))
    except KeyboardInterrupt:  # the runs continue, so the entry's message would be wrong
        return 130
    for line in reasons(runs):
        say(errors, line)
    return 0
