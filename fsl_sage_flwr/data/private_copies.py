"""Redirect the copies that `datasets` writes of a node's own data."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Folders that `datasets` uses by default: for tables, for archives, for extracted files.
_FOLDERS = {
    "HF_DATASETS_CACHE": "",
    "DOWNLOADED_DATASETS_PATH": "downloads",
    "EXTRACTED_DATASETS_PATH": "downloads/extracted",
}


@contextmanager
def private_copies(folder: Path) -> Iterator[None]:
    """Redirect the copies that `datasets` writes inside the context to a private folder.

    `datasets` converts all files but Arrow's at the first load and keeps the conversion, by default
    permanently in the user's cache and readable by all users.

    Parameters
    ----------
    folder : Path
        Existing folder, accessible to this user alone.
    """
    import datasets

    before = {name: getattr(datasets.config, name) for name in _FOLDERS}
    try:
        for name, below in _FOLDERS.items():
            setattr(datasets.config, name, folder / below)
        yield
    finally:
        for name, value in before.items():
            setattr(datasets.config, name, value)
        for path in folder.rglob("*"):
            if not path.is_symlink():
                path.chmod(0o700 if path.is_dir() else 0o600)
