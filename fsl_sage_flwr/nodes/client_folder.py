"""Folders of files that nodes keep between messages, private and removed with their run.

``$FSL_SAGE_CACHE/fsl-sage-flwr-UID/run-ID/client-ID/FILE``, or without the variable
``~/.cache/fsl-sage-flwr/run-ID/client-ID/FILE``. The variable may name a directory with other
files: only files of this package's names in the folder of this user's runs are ever removed.
"""

import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from flwr.app import Context

from ..atomic_files import DiskError, atomic_write, make_private

KEPT_SECONDS = 7 * 24 * 3600
CACHE_VARIABLE = "FSL_SAGE_CACHE"

# Copies that `datasets` makes of a node's own data.
OWN_DATA = "own-data"
_RUN = re.compile(r"run-\d+")
_IN_A_RUN = re.compile(r"client-\d+|parts")
_FILE = re.compile(r".+\.(safetensors|pt)(\.\d+\.part)?|\.tmp\w*")


def is_named() -> bool:
    """Return whether the root folder of all clients' files is configured."""
    return bool(os.environ.get(CACHE_VARIABLE))


def root() -> Path:
    """Return the folder of all of this user's runs."""
    named = os.environ.get(CACHE_VARIABLE)
    if not named:
        return Path.home() / ".cache" / "fsl-sage-flwr"
    # Users may share the directory, so each gets a private folder in it.
    return Path(named) / f"fsl-sage-flwr-{os.getuid()}"


def shared_folder(name: str, run_id: int) -> Path | None:
    """Return a folder shared by all clients of a run; None without a configured root.

    It lies beside the clients' folders and is removed with them.
    """
    if not is_named():
        return None
    with suppress(DiskError):  # the folder is optional
        begin_run(run_id)
    return _run_folder(run_id) / name


def own_data_folder(context: Context) -> Path:
    """Create and return a folder for copies of the node's own data.

    It is removed with the node's other files. Each message renews its lifetime, even if nothing is
    written.

    Raises
    ------
    DiskError
        The folder cannot be created.
    """
    return ClientFolder(context).own_data()


def remove_run(run_id: int) -> None:
    """Remove the files of all clients of a run on this machine."""
    _remove(_run_folder(run_id))


class ClientFolder:
    """Files of one client of one run, by its node's id.

    Folders are 0700 and files 0600. They are removed when the run ends (:func:`remove_run`), or,
    after a crash, when another run begins on this machine a week later.

    Parameters
    ----------
    context : Context
        Flower's Context of the current message.
    """

    def __init__(self, context: Context) -> None:
        self._run_id = context.run_id
        self._folder = _run_folder(context.run_id) / f"client-{context.node_id}"

    def path(self, name: str) -> Path:
        """Return the path of a file, which may not exist."""
        return self._folder / name

    def write(self, name: str, write: Callable[[Path], None]) -> None:
        """Write a file with a callback and replace the old one atomically."""
        self._make()
        with atomic_write(self.path(name), synced=False, private=True) as unfinished:
            write(unfinished)

    def own_data(self) -> Path:
        """Create and return the folder of :func:`own_data_folder`."""
        self._make()
        folder = self.path(OWN_DATA)
        make_private(folder)
        os.utime(folder)
        return folder

    def _make(self) -> None:
        if self._folder.is_dir():
            return
        begin_run(self._run_id)
        make_private(self._folder)


def begin_run(run_id: int) -> None:
    """Create a run's folder on this machine, and remove old runs' files if it is new."""
    folder = _run_folder(run_id)
    if not folder.is_dir():
        make_private(folder)
        _prune(folder.parent)


def _run_folder(run_id: int) -> Path:
    return root() / f"run-{run_id}"


def _prune(all_runs: Path) -> None:
    """Remove the files of runs without a write for a week."""
    oldest = time.time() - KEPT_SECONDS
    for folder in _own_folders(all_runs, _RUN):
        if _last_change(folder) < oldest:
            _remove(folder)


def _last_change(folder: Path) -> float:
    """Return the time of the last change in a folder; unreadable files count as just changed."""
    newest = 0.0
    try:
        for where, folders, files in os.walk(folder, onerror=_raise):
            for name in ("", *folders, *files):
                newest = max(newest, os.lstat(os.path.join(where, name)).st_mtime)
    except OSError:  # another process may have renamed a file: the run is active
        return time.time()
    return newest


def _raise(error: OSError) -> None:
    raise error


def _remove(run: Path) -> None:
    for folder in _own_folders(run, _IN_A_RUN):
        _remove_files(folder)
    with suppress(OSError):  # foreign files in it are kept
        run.rmdir()


def _remove_files(folder: Path) -> None:
    with suppress(OSError):
        for path in list(folder.iterdir()):
            kind = stat.S_IFMT(path.lstat().st_mode)
            if kind == stat.S_IFREG and _FILE.fullmatch(path.name):
                path.unlink(missing_ok=True)
            elif kind == stat.S_IFDIR and path.name == OWN_DATA:
                shutil.rmtree(path, ignore_errors=True)
        folder.rmdir()


def _own_folders(folder: Path, names: re.Pattern[str]) -> Iterator[Path]:
    """Yield the subfolders with one of this package's names, except links."""
    with suppress(OSError):
        for path in list(folder.iterdir()):
            if names.fullmatch(path.name) and stat.S_ISDIR(path.lstat().st_mode):
                yield path
