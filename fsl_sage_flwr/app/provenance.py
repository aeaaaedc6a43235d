"""What produced a run: versions, commit, machine, date, command line."""

import os
import platform
import shlex
import socket
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path

from ..cpus import usable_cpus

# This environment variable tells a ServerApp which command started it.
CLAIM = "FSL_SAGE_CLAIM"
PACKAGES = {"package": "fsl-sage-flwr", "flwr": "flwr", "torch": "torch"}


def provenance(words: Sequence[str]) -> dict[str, str | int]:
    """Return what would be needed to make a run again elsewhere, by name.

    Parameters
    ----------
    words : sequence of str
        The command line that began it, program first.
    """
    program, *others = words or [""]
    return {
        **{name: _version(distribution) for name, distribution in PACKAGES.items()},
        "python": platform.python_version(),
        "commit": _commit(Path(__file__).parent),
        "host": socket.gethostname(),
        "machine": platform.platform(),
        "cpus": usable_cpus(),
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join([Path(program).name, *others]),
    }


def started_by_command() -> bool:
    """Tell whether this process is a ServerApp that a command of this package started."""
    return CLAIM in os.environ


def of_this_process() -> dict[str, str | int]:
    """Return the provenance of what this process does."""
    return provenance(sys.argv)


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:  # source that was copied, not installed
        return ""


def _commit(folder: Path) -> str:
    """Return the commit of the source, marked if files of it were changed; empty: no checkout."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        # A package that was installed into some other project's checkout is not of its commit.
        if not git("ls-files", Path(__file__).name):
            return ""
        commit = git("rev-parse", "HEAD")
        return f"{commit}, changed" if git("status", "--porcelain", "--", ".") else commit
    except OSError:  # git is not installed
        return ""
