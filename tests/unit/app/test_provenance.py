"""A run says what produced it."""

import json
import subprocess
from pathlib import Path

import pytest

from fsl_sage_flwr.app import provenance as module
from fsl_sage_flwr.app.provenance import provenance
from fsl_sage_flwr.app.results import RunDirectory


def test_versions_machine_and_command_are_there() -> None:
    found = provenance(["/usr/bin/fsl-sage", "run", "lr-schedule=step every=2"])
    assert found["command"] == "fsl-sage run 'lr-schedule=step every=2'"
    for name in ("package", "flwr", "torch", "python", "host", "machine", "date"):
        assert found[name], name


def test_the_commit_is_that_of_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> str:
        named = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@y", *words]
        return subprocess.run(named, capture_output=True, text=True, check=True).stdout.strip()

    source = tmp_path / "provenance.py"
    source.write_text("")
    monkeypatch.setattr(module, "__file__", str(source))
    assert provenance([])["commit"] == ""
    git("init")
    assert provenance([])["commit"] == ""  # somebody else's checkout
    git("add", ".")
    git("commit", "-m", "x")
    assert provenance([])["commit"] == git("rev-parse", "HEAD")
    source.write_text("more")
    assert provenance([])["commit"] == f"{git('rev-parse', 'HEAD')}, changed"


def test_a_resumed_run_keeps_what_produced_its_beginning(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for host, resumed in (("lost", False), ("a", False), ("b", True), ("c", True)):
        run.write_provenance({"host": host}, resumed=resumed)
    read = json.loads(RunDirectory.provenance_of(tmp_path).read_text())
    assert read == {"host": "c", "resumes": {"host": "b", "resumes": {"host": "a"}}}
