"""Answer a wrong key without torch, which takes seconds to import."""

import argparse

from ..config.key_names import unknown
from ..config.key_table import own_keys, own_new_names
from ..registries import others_may_register


def unknown_key(options: argparse.Namespace) -> str | None:
    """Return the line that refuses a ``key=value`` word with an unknown key; None if there is none.

    Where a module outside the package may declare more keys, the configuration decides, which is
    read after that module.
    """
    words: list[str] = getattr(options, "settings", None) or getattr(options, "words", None) or []
    keys = [word.partition("=")[0] for word in words if "=" in word]
    wrong = next((key for key in keys if key not in own_keys()), None)
    if wrong is None or may_be_extended(options):
        return None
    return unknown(wrong, own_keys(), own_new_names())


def may_be_extended(options: argparse.Namespace) -> bool:
    """Return whether a module outside the package may declare more keys."""
    return bool(options.imports) or others_may_register()
