"""What produced a run: versions, commit, machine, date, command line, Flower's run and app.

No credential is among it. Of the environment nothing is taken, and of command lines those of this
package alone: Flower gives its processes tokens as arguments, and other programs may do the same.
"""

import os
import platform
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from ..cpus import usable_cpus

# This environment variable tells a ServerApp which command started it.
CLAIM = "FSL_SAGE_CLAIM"
PACKAGES = {"package": "fsl-sage-flwr", "flwr": "flwr", "torch": "torch"}
COMMAND = "fsl-sage"
# What differs from run to run though nothing else does.
OF_ONE_RUN = ("date", "command", "run_id")


def provenance(words: Sequence[str]) -> dict[str, str | int]:
    """Return what would be needed to make a run again elsewhere, by name.

    Parameters
    ----------
    words : sequence of str
        The command line that began it, program first.
    """
    return {
        **{name: _version(distribution) for name, distribution in PACKAGES.items()},
        "python": platform.python_version(),
        "commit": _commit(Path(__file__).parent),
        "host": socket.gethostname(),
        "machine": platform.platform(),
        "cpus": usable_cpus(),
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": command_line(words),
    }


def command_line(words: Sequence[str]) -> str:
    """Return a command line of this package; of another program its name alone.

    Parameters
    ----------
    words : sequence of str
        The command line, program first.
    """
    program, *others = words or [""]
    path, package = Path(program), Path(__file__).resolve().parents[1]
    if path.name == COMMAND or path.resolve().is_relative_to(package):
        return shlex.join([COMMAND, *others])
    return path.name


def of_flower_run(run: Any) -> dict[str, str]:
    """Return the id of a run, and the hash of its app, by name.

    Parameters
    ----------
    run : flwr Run or None
        A Grid's ``run``.
    """
    found = {"run_id": getattr(run, "run_id", ""), "app_hash": getattr(run, "fab_hash", "")}
    return {name: str(value) for name, value in found.items() if value}


def without_credentials(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a provenance as this version writes it: earlier ones wrote every command line."""
    cleaned = dict(found)
    if "command" in found:
        try:
            words = shlex.split(str(found["command"]))
        except ValueError:  # somebody has edited it
            words = []
        cleaned["command"] = command_line(words)
    if isinstance(found.get("resumes"), Mapping):
        cleaned["resumes"] = without_credentials(found["resumes"])
    return cleaned


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
