"""Load what others register: models, datasets, distributions, algorithms, codecs, tasks.

They are found in two ways: an installed package has an entry point in one of :data:`GROUPS`, whose
value is a module that registers something; and ``fsl-sage … --import my_module`` names one, which
travels to every process of a run in an environment variable.
"""

import os
import pkgutil
import sys
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from itertools import chain
from pathlib import Path

GROUPS = tuple(
    f"fsl_sage_flwr.{kind}"
    for kind in ("models", "datasets", "distributions", "algorithms", "codecs", "tasks")
)
# Names of modules, with commas between.
IMPORTS = "FSL_SAGE_IMPORT"


class ExtensionError(ValueError):
    """A module that should register something cannot be imported; one line says why."""


def announce(modules: Sequence[str]) -> None:
    """Have modules imported by this process and all that it starts; they may be in this folder."""
    if modules:
        os.environ[IMPORTS] = ",".join(modules)
        here = str(Path.cwd())
        sys.path.insert(0, here)
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([here, *([before] if before else [])])
        load_extensions.cache_clear()


@cache
def load_extensions() -> None:
    """Import them, once.

    Raises
    ------
    ExtensionError
        One cannot be imported.
    """
    installed = metadata.entry_points()  # reads the metadata of every package: once
    for entry in chain.from_iterable(installed.select(group=group) for group in GROUPS):
        try:
            entry.load()
        except (ImportError, AttributeError, ValueError) as error:
            raise ExtensionError(
                f"entry point {entry.name!r} of {entry.group} ({entry.value}) cannot be loaded: "
                f"{_short(error)}; mend or uninstall the package that has it"
            ) from error
    for module in filter(None, os.environ.get(IMPORTS, "").split(",")):
        try:
            pkgutil.resolve_name(module)
        except (ImportError, AttributeError, ValueError, SyntaxError) as error:
            raise ExtensionError(
                f"--import {module}: {_short(error)}; give the name of a module that can be "
                "imported from here, without .py"
            ) from error


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
