"""Parse the command line, and explain its errors."""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import metadata
from types import MappingProxyType
from typing import Any, NoReturn

from ..config.key_table import likely_own_key
from .arguments import ARGUMENTS

# Commands with key=value words.
TAKE_KEYS = ("run", "sweep", "cuts", "leakage")
# Names of our options in Flower and other programs.
ALSO_CALLED = {"--num-clients": "--clients", "--num-supernodes": "--clients"}


class _Parser(argparse.ArgumentParser):
    """Explains an unknown option by a similar option, or key of the run configuration."""

    words: Sequence[str] = ()
    commands: Mapping[str, argparse.ArgumentParser] = MappingProxyType({})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Keep the words for error messages."""
        self.words = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print one line, and exit with status 2."""
        if message.startswith("unrecognized arguments: "):
            unknown = message.removeprefix("unrecognized arguments: ").split()
            option = next((word for word in unknown if word.startswith("--")), "")
            message = self._meant_by(option) or message
        sys.stderr.write(f"{self.prog}: {message}\n")
        sys.exit(2)

    def _meant_by(self, option: str) -> str | None:
        """Return an explanation of an unknown option; None without a similar one."""
        name, _, value = option.partition("=")
        command = next((word for word in self.words if not word.startswith("-")), "")
        known = self.commands.get(command)
        there = re.findall(r"--[\w-]+", known.format_usage()) if known else []
        meant = ALSO_CALLED.get(name, "")
        close = [meant] if meant in there else get_close_matches(name, there, n=1, cutoff=0.75)
        if close:
            return f"{name} is no option; did you mean {close[0]}?"
        key = likely_own_key(name.removeprefix("--")) if command in TAKE_KEYS else None
        if key is None:
            return None
        if not value and option in self.words[:-1]:
            value = self.words[self.words.index(option) + 1]
        return f"{option} is no option; give it as {key}={value or '…'}"


def parser() -> argparse.ArgumentParser:
    """Return the parser; its result has the command's name as ``command``."""
    made = _Parser(prog="fsl-sage", description="Federated split learning.")
    made.add_argument(
        "--version", action="version", version=f"fsl-sage-flwr {metadata.version('fsl-sage-flwr')}"
    )
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    for add_arguments in ARGUMENTS:
        add_arguments(commands)
    made.commands = commands.choices
    for command in commands.choices.values():
        command.add_argument(
            "--import", dest="imports", action="append", default=[], metavar="MODULE",
            help="import a module that registers a model, a dataset, …; may be given again",
        )  # fmt: skip
    return made
