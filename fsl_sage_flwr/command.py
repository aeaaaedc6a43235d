"""Entry point of the ``fsl-sage`` command, which needs more packages than the library."""

import sys
from importlib.util import find_spec

from .command_line import parser
from .command_line.completion import complete_if_asked

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
    """Run the command; print one line and return 2 if a package it needs is not installed.

    Help, the version and wrong words are answered at once; torch and Flower, which take seconds,
    are imported after that.
    """
    made = parser()
    complete_if_asked(made)
    options = made.parse_args()
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(
            f"fsl-sage: the command needs {', '.join(missing)}, not installed here; "
            "pip install 'fsl-sage-flwr[command]'",
            file=sys.stderr,
        )
        return 2
    try:
        # Imported only now, because it imports the packages that were checked above.
        from .simulations.cli import run_command
    except KeyboardInterrupt:
        print("fsl-sage: interrupted; nothing was started", file=sys.stderr)
        return 130
    return run_command(options)
