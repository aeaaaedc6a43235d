"""Complete commands, options, presets and keys for the shell's Tab key."""

import argparse
import os
from collections.abc import Callable
from typing import Any

from ..config.key_table import own_keys

# Set by the shell for a completion; only then the package argcomplete is imported.
ASKED = "_ARGCOMPLETE"


def complete_if_asked(parser: argparse.ArgumentParser) -> None:
    """Print completions and exit, if the shell has asked for them; needs argcomplete."""
    if ASKED not in os.environ:
        return
    import argcomplete

    argcomplete.autocomplete(parser)


def keys(prefix: str, **_: Any) -> list[str]:
    """Return the keys of the run configuration with a prefix, each with its ``=``."""
    return [f"{key}=" for key in own_keys() if key.startswith(prefix)]


def names(known: list[str]) -> Callable[..., list[str]]:
    """Return a completer for a list of names."""
    return lambda **_: known


def completed_by(argument: argparse.Action, completer: Callable[..., list[str]]) -> None:
    """Set an argument's completer, in the attribute that argcomplete reads."""
    argument.completer = completer  # type: ignore[attr-defined]
