"""Entry point of the ``fsl-sage`` command, which needs more packages than the library."""

import gc
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

# The extra `command` in pyproject.toml.
NEEDED = (
    "argcomplete",
    "jinja2",
    "matplotlib",
    "pandas",
    "plotext",
    "plotly",
    "psutil",
    "rich",
    "scipy",
    "tabulate",
)


def main() -> int:
    """Run the command; print one line and return 2 if a required package is not installed.

    Help, the version and errors in the words are printed at once; torch and Flower, which take
    seconds, are imported later.
    """
    from .command_line import standard_output

    with standard_output():
        try:
            ready = _ready()
        except KeyboardInterrupt:
            print("fsl-sage: interrupted; nothing was started", file=sys.stderr)
            return 130
        return ready if isinstance(ready, int) else ready()


def _ready() -> int | Callable[[], int]:
    """Return a function that runs the command, or an exit status if it cannot run.

    All slow imports are here, where Ctrl-C is caught.
    """
    from .command_line import absent_directory, may_be_extended, parser, unknown_key
    from .command_line.completion import complete_if_asked
    from .command_line.keys import print_own_keys

    made = parser()
    complete_if_asked(made)
    options = made.parse_args()
    missing = [name for name in NEEDED if find_spec(name) is None]
    if options.command == "keys" and not may_be_extended(options):
        return partial(print_own_keys, options)
    problem = unknown_key(options) or absent_directory(options)
    if missing:
        problem = (
            f"the command needs {', '.join(missing)}, not installed here; "
            "pip install 'fsl-sage-flwr[command]'"
        )
    if problem:
        print(f"fsl-sage: {problem}", file=sys.stderr)
        return 2
    # Imports create a million permanent objects: collecting garbage among them takes a tenth of a
    # second during the imports, and two tenths at exit.
    gc.disable()
    # Imported here because it imports the packages checked above.
    from .simulations.cli import run_command

    gc.freeze()
    gc.enable()
    return partial(run_command, options)
