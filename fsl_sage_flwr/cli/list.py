"""``fsl-sage list``: list the names that a run can use."""

from collections.abc import Iterable
from typing import Annotated, Literal, get_args

import typer

from ..config.name_table import KnownName, own_names
from ..registries import others_may_register
from ..simulations.preset_names import EXPERIMENTS, PRESETS, preset_names
from .options import Imports
from .printing import consoles

Kind = Literal[
    "models", "datasets", "distributions", "algorithms", "codecs", "tasks", "trackers", "presets"
]


def list_command(
    kind: Annotated[
        Kind, typer.Argument(metavar="KIND", help=", ".join(get_args(Kind)), show_choices=False)
    ],
    imports: Imports = None,
) -> int:
    """List the models, datasets and other names that a run can use, with their packages."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("name", "what", "from"):
        table.add_column(heading, overflow="fold")
    for known in _known(kind):
        table.add_row(known.name, known.what, known.source)
    console, _ = consoles()
    console.print(table, highlight=False)
    return 0


def _known(kind: Kind) -> Iterable[KnownName]:
    if kind == "presets":
        return [
            KnownName(name, what)
            for folder, what in ((PRESETS, "a run"), (EXPERIMENTS, "a sweep"))
            for name in preset_names(folder)
        ]
    if not others_may_register():
        return own_names()[kind]
    from ..app.known_names import NAMES

    return NAMES[kind]()
