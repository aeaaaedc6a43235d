"""Where `datasets` writes its copies of a node's own data."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What `datasets` takes for a folder that it is not given: of tables, of archives, of their files.
_FOLDERS = {
    "HF_DATASETS_CACHE": "",
    "DOWNLOADED_DATASETS_PATH": "downloads",
    "EXTRACTED_DATASETS_PATH": "downloads/extracted",
}


@contextmanager
def private_copies(folder: Path) -> Iterator[None]:
    """Have the copies of what is loaded inside written to a folder, readable by this user alone.

    Anything but Arrow files is converted when it is first loaded, and the conversion kept: by
    default in the user's cache for ever, readable by all users.

    Parameters
    ----------
    folder : Path
        It exists, and only this user may enter it.
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
