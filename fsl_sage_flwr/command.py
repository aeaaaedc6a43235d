"""Where the ``fsl-sage`` command begins: it needs packages that the library does not."""

import sys
from importlib.util import find_spec

# The extra `command` in pyproject.toml.
NEEDED = ("jinja2", "matplotlib", "pandas", "psutil", "rich", "tabulate")


def main() -> int:
    """Run the command; one line and 2 where a package that it needs is not installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(
            f"fsl-sage: the command needs {', '.join(missing)}, not installed here; "
            "pip install 'fsl-sage-flwr[command]'",
            file=sys.stderr,
        )
        return 2
    # Here and not above: it imports what was looked for.
    from .simulations.cli import main as command

    return command()
