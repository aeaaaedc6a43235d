"""Read the words of the command line, and say what is wrong with them."""

import argparse
import sys
from importlib import metadata
from typing import NoReturn

from ..key_names import likely_key
from .arguments import ARGUMENTS


class _Parser(argparse.ArgumentParser):
    """Says of an unknown option which key of the run configuration may be meant."""

    def error(self, message: str) -> NoReturn:
        """Print one line, and end with status 2."""
        unknown = message.removeprefix("unrecognized arguments: ").split()
        option = next((word for word in unknown if word.startswith("--")), None)
        if option and message.startswith("unrecognized"):
            name, _, value = option.removeprefix("--").partition("=")
            key = likely_key(name)
            if key:
                value = value or next(iter(unknown[unknown.index(option) + 1 :]), "…")
                message = f"{option} is no option; give it as {key}={value}"
        sys.stderr.write(f"{self.prog}: {message}\n")
        sys.exit(2)


def parser() -> argparse.ArgumentParser:
    """Return the parser; its result has the name of the command as ``command``."""
    made = _Parser(prog="fsl-sage", description="Federated split learning.")
    made.add_argument(
        "--version", action="version", version=f"fsl-sage-flwr {metadata.version('fsl-sage-flwr')}"
    )
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    for add_arguments in ARGUMENTS:
        add_arguments(commands)
    for command in commands.choices.values():
        command.add_argument(
            "--import", dest="imports", action="append", default=[], metavar="MODULE",
            help="import a module that registers a model, a dataset, …; may be given again",
        )  # fmt: skip
    return made
