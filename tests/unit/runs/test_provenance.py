"""A run records its provenance."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from fsl_sage_flwr.analysis.provenance import provenance_of
from fsl_sage_flwr.runs import provenance as module
from fsl_sage_flwr.runs.directory import RunDirectory
from fsl_sage_flwr.runs.provenance import of_flower_run, provenance


def test_versions_machine_and_command_are_there() -> None:
    found = provenance(["/usr/bin/fsl-sage", "run", "lr-schedule=step every=2"])
    assert found["command"] == "fsl-sage run 'lr-schedule=step every=2'"
    for name in ("package", "flwr", "torch", "python", "host", "machine", "date"):
        assert found[name], name


TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (["/venv/bin/flwr-serverapp", "--runtime-api-address", "x", "--token", TOKEN],
         "flwr-serverapp"),
        (["train.py", "--api-key", TOKEN], "train.py"),
        ([str(Path(module.__file__).parents[1] / "__main__.py"), "run", "seed=3"],
         "fsl-sage run seed=3"),
        ([], ""),
    ],
)  # fmt: skip
def test_words_of_other_programs_are_not_written(words: list[str], written: str) -> None:
    assert provenance(words)["command"] == written


def test_nothing_of_the_environment_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", TOKEN)
    assert TOKEN not in json.dumps(provenance(["fsl-sage", "run"]))


def test_flowers_run_and_its_app_are_named() -> None:
    run = SimpleNamespace(run_id=2**63, fab_hash="ab12", override_config={"token": TOKEN})
    assert of_flower_run(run) == {"run_id": str(2**63), "app_hash": "ab12"}
    assert of_flower_run(SimpleNamespace(run_id=7, fab_hash="")) == {"run_id": "7"}
    assert of_flower_run(None) == {}


def test_what_becomes_known_later_is_added(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.add_provenance({"run_id": "1"})
    run.write_provenance({"host": "a"}, resumed=False)
    run.add_provenance({"run_id": "2"})
    read = json.loads(RunDirectory.provenance_of(tmp_path).read_text(encoding="utf-8"))
    assert read == {"host": "a", "run_id": "2"}


def test_tokens_that_an_earlier_version_wrote_are_not_shown_and_not_kept(tmp_path: Path) -> None:
    command = f"flwr-serverapp --token {TOKEN}"
    first = {"host": "a", "command": command, "resumes": {"host": "b", "command": f"'{command}"}}
    file = RunDirectory.provenance_of(tmp_path)
    file.write_text(json.dumps(first), encoding="utf-8")
    shown = provenance_of(tmp_path)
    assert shown["command"] == "flwr-serverapp"
    assert TOKEN not in str(shown)
    RunDirectory(tmp_path).write_provenance({"host": "c"}, resumed=True)
    assert TOKEN not in file.read_text(encoding="utf-8")
    assert json.loads(file.read_text(encoding="utf-8"))["resumes"]["host"] == "a"


def test_the_commit_is_that_of_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> str:
        named = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@y", *words]
        return subprocess.run(
            named, capture_output=True, text=True, check=True, encoding="utf-8"
        ).stdout.strip()

    source = tmp_path / "provenance.py"
    source.write_text("", encoding="utf-8")
    monkeypatch.setattr(module, "__file__", str(source))
    assert provenance([])["commit"] == ""
    git("init")
    assert provenance([])["commit"] == ""  # another project's checkout
    git("add", ".")
    git("commit", "-m", "x")
    assert provenance([])["commit"] == git("rev-parse", "HEAD")
    source.write_text("more", encoding="utf-8")
    assert provenance([])["commit"] == f"{git('rev-parse', 'HEAD')}, changed"


def test_a_resumed_run_keeps_what_produced_its_beginning(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for host, resumed in (("lost", False), ("a", False), ("b", True), ("c", True)):
        run.write_provenance({"host": host}, resumed=resumed)
    read = json.loads(RunDirectory.provenance_of(tmp_path).read_text(encoding="utf-8"))
    assert read == {"host": "c", "resumes": {"host": "b", "resumes": {"host": "a"}}}
