"""``fsl-sage keys`` where modules outside the package declare keys."""

import argparse

from rich.console import Console

from ...app.document import key_entries
from ...command_line.keys import print_keys


def keys_command(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """Explain the keys; return the exit status."""
    return print_keys(key_entries(), options.word)
