"""The folder of files that a client keeps between messages."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from flwr.app import Context

from ..whole_files import replacing

KEPT_SECONDS = 7 * 24 * 3600
CACHE_VARIABLE = "FSL_SAGE_CACHE"


def is_named() -> bool:
    """Tell whether somebody has named the folder for all clients' files."""
    return bool(os.environ.get(CACHE_VARIABLE))


def shared_folder(name: str, run_id: int) -> Path | None:
    """Return a folder for what all clients of a run may share; None if nobody has named one.

    It lies beside the clients' own, and its files are removed like theirs.
    """
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) / name / f"{run_id}" if named else None


class ClientFolder:
    """Files of one client of one run, by the id of its node: its own, or one made up for it.

    They are in the folder that ``$FSL_SAGE_CACHE`` names, or in ``~/.cache/fsl-sage-flwr``.

    Parameters
    ----------
    context : Context
        Flower's Context of the message at hand.
    """

    def __init__(self, context: Context) -> None:
        named = os.environ.get(CACHE_VARIABLE)
        self._root = Path(named or Path.home() / ".cache" / "fsl-sage-flwr")
        self._folder = self._root / f"{context.run_id}" / f"{context.node_id}"

    def path(self, name: str) -> Path:
        """Return the path of a file, which need not be there."""
        return self._folder / name

    def write(self, name: str, write: Callable[[Path], None]) -> None:
        """Have a file written, which takes the place of the one before when it is whole."""
        if not self._folder.is_dir():
            is_new_run = not self._folder.parent.is_dir()
            self._folder.mkdir(parents=True, exist_ok=True)
            if is_new_run:  # a simulation may have thousands of nodes, and looks at all their files
                self._prune()
        with replacing(self.path(name), synced=False) as unfinished:
            write(unfinished)

    def _prune(self) -> None:
        """Remove files that no run has touched for a week."""
        oldest = time.time() - KEPT_SECONDS
        for path in self._root.glob("*/*/*"):
            # Other processes write here too: a listed file may have been renamed since.
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()
