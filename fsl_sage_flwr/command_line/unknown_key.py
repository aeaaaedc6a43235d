"""Answer a wrong key before torch is imported, which takes seconds."""

import argparse

from ..key_names import own_keys, unknown
from ..registries import others_may_register


def unknown_key(options: argparse.Namespace) -> str | None:
    """Return the answer to a ``key=value`` word with an unknown key; None if all are known.

    None too where a module outside the package can declare more keys: the configuration, which is
    read after that module, decides.
    """
    words: list[str] = getattr(options, "settings", None) or getattr(options, "words", None) or []
    keys = [word.partition("=")[0] for word in words if "=" in word]
    wrong = next((key for key in keys if key not in own_keys()), None)
    if wrong is None or options.imports or others_may_register():
        return None
    return unknown(wrong, own_keys())
