"""Answer a wrong key at once; torch, which takes seconds, is not needed to know it."""

import argparse
import os
from importlib import metadata

from ..extensions import GROUPS, IMPORTS
from ..key_names import own_keys, unknown


def unknown_key(options: argparse.Namespace) -> str | None:
    """Return what to say of a ``key=value`` word whose key is none; None if all are right.

    Where somebody's module may declare more keys, nothing is said: the configuration, which is
    read after that module, decides.
    """
    words: list[str] = getattr(options, "settings", None) or getattr(options, "words", None) or []
    keys = [word.partition("=")[0] for word in words if "=" in word]
    wrong = next((key for key in keys if key not in own_keys()), None)
    if wrong is None or options.imports or os.environ.get(IMPORTS) or _any_registered():
        return None
    return unknown(wrong, own_keys())


def _any_registered() -> bool:
    installed = metadata.entry_points()  # it takes a moment, which only a wrong key costs
    return any(installed.select(group=group) for group in GROUPS)
