"""What the shell's Tab key completes: commands, options, presets, and keys with their =."""

import argparse
import os
from collections.abc import Callable
from typing import Any

from ..config.key_table import own_keys

# The shell sets it when it asks; the package argcomplete is imported only then.
ASKED = "_ARGCOMPLETE"


def complete_if_asked(parser: argparse.ArgumentParser) -> None:
    """Answer the shell and end, if it is the shell that asks; needs argcomplete."""
    if ASKED not in os.environ:
        return
    import argcomplete

    argcomplete.autocomplete(parser)


def keys(prefix: str, **_: Any) -> list[str]:
    """Return the keys of the run configuration that begin with a prefix."""
    return [f"{key}=" for key in own_keys() if key.startswith(prefix)]


def names(known: list[str]) -> Callable[..., list[str]]:
    """Return what completes one of some names."""
    return lambda **_: known


def completed_by(argument: argparse.Action, completer: Callable[..., list[str]]) -> None:
    """Have an argument completed; argcomplete looks for this attribute."""
    argument.completer = completer  # type: ignore[attr-defined]
