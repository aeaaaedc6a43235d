"""Count the CPUs that a process may use."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

# Environment variable with the value of --cpus, set by a command for its child processes.
LIMIT = "FSL_SAGE_CPUS"
_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use, at least 1.

    The smallest of: the process's CPU affinity (``taskset``, cpusets, Slurm); the CPU quotas of its
    control groups (``docker run --cpus``, Kubernetes, systemd), rounded up; and ``--cpus`` of the
    command that started it.
    """
    limits: list[float] = [len(os.sched_getaffinity(0)), *_quotas()]
    given = os.environ.get(LIMIT, "")
    if given.isdecimal():
        limits.append(int(given))
    return max(1, math.ceil(min(limits)))


def _quotas() -> Iterator[float]:
    """Yield the quota, in CPUs, of every control group that this process belongs to."""
    for directory in _own_groups():
        try:
            yield _quota(directory)
        except (OSError, ValueError, ZeroDivisionError):  # no quota file
            continue


def _own_groups() -> Iterator[Path]:
    """Yield the directories of this process's control groups, versions 1 and 2, and their parents.

    Inside a container that sees the host's group names, the container's group is at the root.
    """
    try:
        lines = _OWN_GROUPS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        for mount in dict.fromkeys((controllers, "cpu" if controllers else "")):
            root = _GROUPS / mount
            directory = root / path.lstrip("/")
            yield directory
            yield from (above for above in directory.parents if above.is_relative_to(root))


def _quota(directory: Path) -> float:
    """Return the CPU quota of one control group; infinity if it sets no limit.

    Raises
    ------
    OSError, ValueError
        The quota file is missing or unreadable.
    """
    version_2 = directory / "cpu.max"
    if version_2.is_file():
        quota, period = version_2.read_text(encoding="ascii").split()
    else:
        quota, period = (
            (directory / f"cpu.cfs_{which}_us").read_text(encoding="ascii").strip()
            for which in ("quota", "period")
        )
    if quota in ("max", "-1"):
        return math.inf
    return int(quota) / int(period)
