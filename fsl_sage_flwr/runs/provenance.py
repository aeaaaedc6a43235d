"""Record the provenance of a run: versions, commit, machine, date, command line, Flower's ids.

No credentials are recorded: nothing from the environment, and command lines of this package alone.
Flower passes tokens to its processes as arguments, and other programs may do the same.
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

# Environment variable that identifies the command to the ServerApp that it started.
CLAIM = "FSL_SAGE_CLAIM"
PACKAGES = {"package": "fsl-sage-flwr", "flwr": "flwr", "torch": "torch"}
COMMAND = "fsl-sage"
# Entries that differ between otherwise equal runs.
OF_ONE_RUN = ("date", "command", "run_id")


def provenance(words: Sequence[str]) -> dict[str, str | int]:
    """Return the information needed to repeat a run elsewhere, by name.

    Parameters
    ----------
    words : sequence of str
        Command line of the run, program first.
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
    """Return a command line of this package; for another program its name alone.

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
    """Return the id of a Flower run and the hash of its app, by name.

    Parameters
    ----------
    run : flwr Run or None
        A Grid's ``run``.
    """
    found = {"run_id": getattr(run, "run_id", ""), "app_hash": getattr(run, "fab_hash", "")}
    return {name: str(value) for name, value in found.items() if value}


def without_credentials(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a provenance without the command lines of other programs, written by old versions."""
    cleaned = dict(found)
    if "command" in found:
        try:
            words = shlex.split(str(found["command"]))
        except ValueError:  # edited by hand
            words = []
        cleaned["command"] = command_line(words)
    if isinstance(found.get("resumes"), Mapping):
        cleaned["resumes"] = without_credentials(found["resumes"])
    return cleaned


def started_by_command() -> bool:
    """Return whether a command of this package started this process as a ServerApp."""
    return CLAIM in os.environ


def of_this_process() -> dict[str, str | int]:
    """Return the provenance of this process."""
    return provenance(sys.argv)


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:  # copied source, not installed
        return ""


def _commit(folder: Path) -> str:
    """Return the commit of the source, marked if files were changed; empty without a checkout."""

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
        # The checkout may be another project's, with this package installed in it.
        if not git("ls-files", Path(__file__).name):
            return ""
        commit = git("rev-parse", "HEAD")
        return f"{commit}, changed" if git("status", "--porcelain", "--", ".") else commit
    except OSError:  # git is not installed
        return ""
