"""Report an unknown key at once, without importing torch, which takes seconds."""

import argparse
import os
from importlib import metadata

from ..extensions import GROUPS, IMPORTS
from ..key_names import own_keys, unknown


def unknown_key(options: argparse.Namespace) -> str | None:
    """Return an error for a ``key=value`` word with an unknown key, or None.

    If a user's module may declare more keys, the check is left to the configuration, which is read
    after the module is imported.
    """
    words: list[str] = getattr(options, "settings", None) or getattr(options, "words", None) or []
    keys = [word.partition("=")[0] for word in words if "=" in word]
    wrong = next((key for key in keys if key not in own_keys()), None)
    if wrong is None or options.imports or os.environ.get(IMPORTS) or _any_registered():
        return None
    return unknown(wrong, own_keys())


def _any_registered() -> bool:
    installed = metadata.entry_points()  # slow, but only needed for an unknown key
    return any(installed.select(group=group) for group in GROUPS)
