"""Arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer
from click import UsageError

from ..config.key_names import unknown
from ..config.key_table import own_keys, own_new_names
from ..registries import announce, others_may_register
from ..simulations.preset_names import preset_names
from .completion import complete_key, complete_preset

# The default of `results-dir`.
RESULTS = Path(str(own_keys()["results-dir"].default))


def _announce(modules: list[str] | None) -> list[str] | None:
    announce(modules or ())
    return modules


def refuse_unknown_keys(words: list[str] | None) -> list[str] | None:
    """Refuse unknown keys of ``key=value`` words at once.

    Where a module outside the package may declare more keys, the configuration decides, which is
    read after that module.
    """
    keys = dict.fromkeys(word.partition("=")[0] for word in words or () if "=" in word)
    wrong = [key for key in keys if key not in own_keys()]
    if wrong and not others_may_register():
        raise UsageError("; ".join(unknown(key, own_keys(), own_new_names()) for key in wrong))
    return words


def existing_directory(path: Path) -> Path:
    """Refuse a directory that does not exist."""
    if path.is_dir():
        return path
    wrong = "is not a directory" if path.exists() else "does not exist"
    raise UsageError(f"{str(path)!r} {wrong}; name a directory of results")


def above_zero(text: str) -> float:
    """Parse a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0  # gives the same error as a number out of range
    if not 0 < value < float("inf"):
        raise typer.BadParameter(f"{text!r} is not valid; give a number above 0")
    return value


Imports = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        metavar="MODULE",
        help="import a module that registers a model, a dataset, …; may be given again",
        callback=_announce,
        is_eager=True,  # its keys are known when the words are read
    ),
]

Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="key=value",
        help="run configuration: fsl-sage keys explains the keys",
        callback=refuse_unknown_keys,
        autocompletion=complete_key,
    ),
]

Preset = Annotated[
    str | None,
    typer.Option(
        help=f"a preset ({', '.join(preset_names())}), or a TOML file",
        autocompletion=complete_preset,
    ),
]

Directory = Annotated[
    Path, typer.Argument(metavar="DIR", help="directory of results", callback=existing_directory)
]

Picture = Annotated[Path | None, typer.Option("--out", metavar="FILE.png", help="file to write")]
