"""``fsl-sage keys``: explain the keys of the run configuration."""

import sys
from typing import Annotated

import typer

from ..config.key_table import explained, likely_own_key, matching, own_keys
from ..registries import others_may_register
from .completion import complete_key_name
from .options import Imports


def keys_command(
    word: Annotated[
        str,
        typer.Argument(
            help="explain only the keys whose name, group or algorithm contains the word; without "
            "such a key, the keys whose meaning contains it",
            autocompletion=complete_key_name,
            show_default=False,
        ),
    ] = "",
    imports: Imports = None,
) -> int:
    """Explain the keys of the run configuration.

    Prints default, valid values, meaning, and the algorithms that use a key. For example:
    fsl-sage keys noise; fsl-sage keys align; fsl-sage keys learning-rate
    """
    entries = own_keys()
    if others_may_register():
        from ..app.document import key_entries

        entries = key_entries()
    found = matching(entries, word)
    if not found:
        close = likely_own_key(word)
        hint = f"did you mean {close!r}?" if close else "fsl-sage keys explains all of them"
        print(f"fsl-sage: no key contains {word!r}; {hint}", file=sys.stderr)
        return 2
    print("\n".join(explained(entry) for entry in found))
    return 0
