"""How many CPUs a process may use, on machines that are files here."""

import ast
import os
from pathlib import Path

import pytest

import fsl_sage_flwr
from fsl_sage_flwr import cpus

PACKAGE = Path(fsl_sage_flwr.__file__).parent
COUNTS = {"cpu_count", "process_cpu_count", "sched_getaffinity"}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sixteen CPUs, and no control group."""
    monkeypatch.setattr(cpus, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(cpus, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)))
    monkeypatch.delenv(cpus.LIMIT, raising=False)
    return tmp_path


def put(machine: Path, own: str, **files: str) -> None:
    (machine / "own").write_text(own, encoding="utf-8")
    for name, text in files.items():
        file = machine / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("own", "files", "found"),
    [
        ("", {}, 16),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 16),
        # docker run --cpus 2.5, in a separate name space.
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 3),
        # The host's names, and the container's own group at the root.
        ("0::/docker/abc\n", {"cpu.max": "100000 100000\n"}, 1),
        # systemd-run -p CPUQuota=150%, below a slice that allows 4.
        (
            "0::/user.slice/run.scope\n",
            {
                "user.slice/cpu.max": "400000 100000",
                "user.slice/run.scope/cpu.max": "150000 100000",
            },
            2,
        ),
        ("0::/a.slice/b\n", {"a.slice/cpu.max": "400000 100000", "a.slice/b/cpu.max": "max 5"}, 4),
        (
            "5:cpu,cpuacct:/docker/abc\n2:memory:/m\n",
            {
                "cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "200000\n",
                "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        (
            "1:cpu:/\n0::/\n",
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            16,
        ),
        (
            "4:cpu,cpuacct:/x\n",
            {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"},
            1,
        ),
        ("0::/\n", {"cpu.max": "what is this\n"}, 16),
        ("0::/\n", {"cpu.max": "9900000 100000\n"}, 16),
    ],
)
def test_quotas_of_control_groups_count(
    machine: Path, own: str, files: dict[str, str], found: int
) -> None:
    put(machine, own, **files)
    assert cpus.usable_cpus() == found


def test_what_the_command_allows_counts(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cpus.LIMIT, "4")
    assert cpus.usable_cpus() == 4
    put(machine, "0::/\n", **{"cpu.max": "200000 100000"})
    assert cpus.usable_cpus() == 2


@pytest.mark.slow
def test_nothing_else_in_the_package_counts_cpus() -> None:
    asking = {
        file.name
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in COUNTS
    }
    assert asking == {"cpus.py"}
