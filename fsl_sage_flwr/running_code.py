"""Identify the running code by versions and hashes, to compare machines."""

import sys
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path

DISTRIBUTION = "fsl-sage-flwr"
LENGTH_OF_HASH = 12


@cache
def package_version() -> str:
    """Return the version of this package, or ``unknown`` if it is not installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"


@cache
def package_code() -> str:
    """Return this package's version and a hash of its source."""
    folder = Path(__file__).parent
    return f"{package_version()} {_hash(folder, folder.rglob('*.py'))}"


@cache
def app_code(module: str) -> str | None:
    """Return the name, the version and a source hash of an app's module.

    The hash covers the module's file and, in a package, the files beside it. The version is the
    ``__version__`` of the app's top-level package.

    Parameters
    ----------
    module : str
        Name of an imported module.

    Returns
    -------
    str or None
        None for a module of this package, or without a file, as in a notebook.
    """
    top = module.partition(".")[0]
    found = sys.modules.get(module)
    source = getattr(found, "__file__", None)
    if top == __package__ or not isinstance(source, str) or not Path(source).is_file():
        return None
    folder = Path(source).parent
    files = folder.glob("*.py") if getattr(found, "__package__", "") else [Path(source)]
    version = getattr(sys.modules.get(top), "__version__", "")
    return " ".join(filter(None, (top, str(version), _hash(folder, files))))


def _hash(folder: Path, files: Iterable[Path]) -> str:
    """Return a hash of files and their names below a folder, independent of line endings."""
    found = sha256()
    for file in sorted(files):
        found.update(f"{file.relative_to(folder).as_posix()}\n".encode())
        found.update(file.read_bytes().replace(b"\r\n", b"\n"))
    return found.hexdigest()[:LENGTH_OF_HASH]
