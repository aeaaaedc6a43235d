"""Explain the keys of the run configuration without torch, which takes seconds to import."""

import argparse
import sys
from collections.abc import Mapping

from ..config.key_table import KeyEntry, explained, likely_own_key, matching, own_keys


def print_own_keys(options: argparse.Namespace) -> int:
    """Print the package's own keys; return the exit status."""
    return print_keys(own_keys(), options.word)


def print_keys(entries: Mapping[str, KeyEntry], word: str) -> int:
    """Print the keys that a word finds; return the exit status."""
    found = matching(entries, word)
    if not found:
        close = likely_own_key(word)
        hint = f"did you mean {close!r}?" if close else "fsl-sage keys explains all of them"
        print(f"fsl-sage: no key contains {word!r}; {hint}", file=sys.stderr)
        return 2
    print("\n".join(explained(entry) for entry in found))
    return 0
