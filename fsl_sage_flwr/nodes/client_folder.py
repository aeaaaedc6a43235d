"""The folders of files that nodes keep between messages: of one run each, private, removed with it.

``$FSL_SAGE_CACHE/fsl-sage-flwr-UID/run-ID/client-ID/FILE``; without the variable
``~/.cache/fsl-sage-flwr/run-ID/client-ID/FILE``. The variable may name a directory that others use
too: nothing outside of the folder of this user's runs is ever removed, and in it only what has this
package's names.
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

from ..atomic_files import DiskError, make_private, replacing

KEPT_SECONDS = 7 * 24 * 3600
CACHE_VARIABLE = "FSL_SAGE_CACHE"

# The copies that `datasets` makes of a node's own data.
OWN_DATA = "own-data"
_RUN = re.compile(r"run-\d+")
_IN_A_RUN = re.compile(r"client-\d+|parts")
_FILE = re.compile(r".+\.(safetensors|pt)(\.\d+\.part)?|\.tmp\w*")


def is_named() -> bool:
    """Tell whether somebody has named the folder for all clients' files."""
    return bool(os.environ.get(CACHE_VARIABLE))


def root() -> Path:
    """Return the folder of all runs of this user."""
    named = os.environ.get(CACHE_VARIABLE)
    if not named:
        return Path.home() / ".cache" / "fsl-sage-flwr"
    # Users may share the directory, but no folder that is open to one of them alone.
    return Path(named) / f"fsl-sage-flwr-{os.getuid()}"


def shared_folder(name: str, run_id: int) -> Path | None:
    """Return a folder for what all clients of a run may share; None if nobody has named one.

    It lies beside the clients' own, and is removed with them.
    """
    if not is_named():
        return None
    with suppress(DiskError):  # clients can do without
        begin_run(run_id)
    return _run_folder(run_id) / name


def own_data_folder(context: Context) -> Path:
    """Return a folder for copies of the node's own data, which is there.

    It is removed with the node's other files. A message renews the time for which it is kept,
    though nothing is written.

    Raises
    ------
    DiskError
        It cannot be made.
    """
    return ClientFolder(context).own_data()


def remove_run(run_id: int) -> None:
    """Remove the files of all clients of a run on this machine."""
    _remove(_run_folder(run_id))


class ClientFolder:
    """Files of one client of one run, by the id of its node: its own, or one made up for it.

    Folders are 0700 and files 0600. They are removed when the run ends (:func:`remove_run`); those
    of a run that could not say so, when another run begins on this machine a week later.

    Parameters
    ----------
    context : Context
        Flower's Context of the message at hand.
    """

    def __init__(self, context: Context) -> None:
        self._run_id = context.run_id
        self._folder = _run_folder(context.run_id) / f"client-{context.node_id}"

    def path(self, name: str) -> Path:
        """Return the path of a file, which need not be there."""
        return self._folder / name

    def write(self, name: str, write: Callable[[Path], None]) -> None:
        """Have a file written, which takes the place of the one before when it is whole."""
        self._make()
        with replacing(self.path(name), synced=False, private=True) as unfinished:
            write(unfinished)

    def own_data(self) -> Path:
        """Return the folder of :func:`own_data_folder`."""
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
    """Make the folder of a run on this machine; a new one has old runs' files removed."""
    folder = _run_folder(run_id)
    if not folder.is_dir():
        make_private(folder)
        _prune(folder.parent)


def _run_folder(run_id: int) -> Path:
    return root() / f"run-{run_id}"


def _prune(all_runs: Path) -> None:
    """Remove the files of runs that have written none for a week."""
    oldest = time.time() - KEPT_SECONDS
    for folder in _own_folders(all_runs, _RUN):
        if _last_change(folder) < oldest:
            _remove(folder)


def _last_change(folder: Path) -> float:
    """Return when anything in a folder changed last; what cannot be looked at changed just now."""
    newest = 0.0
    try:
        for where, folders, files in os.walk(folder, onerror=_raise):
            for name in ("", *folders, *files):
                newest = max(newest, os.lstat(os.path.join(where, name)).st_mtime)
    except OSError:  # perhaps another process has renamed a file meanwhile: the run is at work
        return time.time()
    return newest


def _raise(error: OSError) -> None:
    raise error


def _remove(run: Path) -> None:
    for folder in _own_folders(run, _IN_A_RUN):
        _remove_files(folder)
    with suppress(OSError):  # there is something else in it, which stays
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
    """Iterate over the folders in a folder that have a name of this package's; links are none."""
    with suppress(OSError):
        for path in list(folder.iterdir()):
            if names.fullmatch(path.name) and stat.S_ISDIR(path.lstat().st_mode):
                yield path
