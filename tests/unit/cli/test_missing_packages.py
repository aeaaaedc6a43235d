"""The library needs none of the command's packages, and the command reports missing ones."""

import os
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from fsl_sage_flwr import cli
from fsl_sage_flwr.cli import entry, main

PYPROJECT = tomllib.loads(
    (Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
)
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
# Flower brings rich and typer along, and imports them itself.
BLOCKED = sorted({*entry.NEEDED} - {"rich", "typer"})

NOBODY_MAY = f"""
import sys
sys.modules.update(dict.fromkeys({BLOCKED}))  # None: importing it raises ModuleNotFoundError
"""
# flwr-datasets and datasets are built on pandas and matplotlib: they may import them, we may not.
WE_MAY_NOT = f"""
import builtins
importing = builtins.__import__

def watched(name, globals=None, locals=None, fromlist=(), level=0):
    by = (globals or {{}}).get("__name__") or ""
    if by.startswith("fsl_sage_flwr") and not level and name.partition(".")[0] in {BLOCKED}:
        raise ModuleNotFoundError(f"{{by}} imports {{name}}")
    return importing(name, globals, locals, fromlist, level)

builtins.__import__ = watched
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        encoding="utf-8",
    )


def names(requirements: list[str]) -> set[str]:
    return {requirement.partition(">")[0].partition("[")[0] for requirement in requirements}


def test_the_command_looks_for_what_its_extra_has() -> None:
    assert names(EXTRAS["command"]) == set(entry.NEEDED)
    assert names(PYPROJECT["project"]["dependencies"]).isdisjoint(entry.NEEDED)
    assert "fsl-sage-flwr[command]" in EXTRAS["dev"]


@pytest.mark.slow
def test_the_library_is_imported_where_none_of_them_is() -> None:
    done = python(f"{NOBODY_MAY}\nimport fsl_sage_flwr")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_apps_ask_for_none_of_them_and_a_room_that_does_would_be_seen() -> None:
    done = python(
        f"{WE_MAY_NOT}\nimport fsl_sage_flwr.client_app, fsl_sage_flwr.server_app\n"
        "print('imported', flush=True)\nimport fsl_sage_flwr.analysis.comparison"
    )
    assert done.stdout == "imported\n", done.stderr
    assert "fsl_sage_flwr.analysis.comparison imports pandas" in done.stderr


@pytest.mark.parametrize("words", [["run"], ["results", "."], ["runs", "."]])
def test_the_command_says_in_one_line_what_to_install(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("fsl_sage_flwr.analysis.")]:
        monkeypatch.delitem(sys.modules, name)  # as in a new process
    for name in ("pandas", "psutil"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "fsl-sage: the command needs pandas, psutil, not installed here; "
        "pip install 'fsl-sage-flwr[command]'\n"
    )


def test_another_missing_package_is_not_taken_for_the_commands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def without() -> int:
        raise ModuleNotFoundError("No module named 'theirs'", name="theirs")

    monkeypatch.setattr(entry, "parse", lambda words: entry.Parsed("run", without))
    with pytest.raises(ModuleNotFoundError, match="theirs"):
        main(["run"])


def test_ctrl_c_while_words_are_read_is_answered_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(words: list[str]) -> int:
        raise click.Abort

    monkeypatch.setattr(entry, "parse", interrupted)
    assert main(["run"]) == 130
    assert capsys.readouterr().err == "fsl-sage: interrupted; nothing was started\n"


def test_the_entry_point_is_the_command() -> None:
    assert PYPROJECT["project"]["scripts"]["fsl-sage"] == "fsl_sage_flwr.cli:main"


def test_python_with_the_packages_name_is_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["anything", "--help"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_module("fsl_sage_flwr", run_name="__main__")
    assert "Usage: fsl-sage " in capsys.readouterr().out
    monkeypatch.setattr(cli, "main", lambda: 130)
    with pytest.raises(SystemExit, match="130"):
        runpy.run_module("fsl_sage_flwr", run_name="__main__")


@pytest.mark.parametrize(("word", "threads"), [("run", "1"), ("sweep", "3")])
def test_a_run_computes_with_one_numpy_thread_as_rays_processes_do(
    word: str, threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last bits of a client's ``update_norm`` depend on it."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")  # restored
    assert cli.main([word, "model=nosuch"]) == 2
    assert os.environ["OMP_NUM_THREADS"] == threads
