"""Text is read and written in UTF-8, whatever the locale is."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [
    file
    for folder in ("fsl_sage_flwr", "benchmarks", "examples", "tests")
    for file in sorted((ROOT / folder).rglob("*.py"))
]
# What opens a file, and the place of its mode among the positional arguments.
OPENING = {"open": 0, "fdopen": 1, "NamedTemporaryFile": 0, "TemporaryFile": 0, "TextIOWrapper": -1}
READING = {"read_text", "write_text"}
STARTING = {"run", "Popen", "check_output", "check_call", "call"}
# Of other packages: they open no text file.
OTHERS = {"Image", "TrainReply", "tarfile", "gzip", "kind", "safetensors", "webbrowser"}


def without_encoding(source: str) -> Iterator[int]:
    """Yield the lines of calls that read or write text in the locale's encoding."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        function, given = node.func, {word.arg: word.value for word in node.keywords}
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        owner = getattr(getattr(function, "value", None), "id", "")
        if "encoding" in given or owner in OTHERS:
            continue
        if name in READING:
            yield node.lineno
        elif name in OPENING and not (name == "open" and owner == "os"):
            # open(path, mode), but path.open(mode).
            place = OPENING[name] + (name == "open" and isinstance(function, ast.Name))
            at = node.args[place] if 0 <= place < len(node.args) else None
            mode = given.get("mode", at)
            binary = isinstance(mode, ast.Constant) and "b" in str(mode.value)
            if not binary and not (name.endswith("TemporaryFile") and mode is None):
                yield node.lineno
        elif name in STARTING and {"text", "universal_newlines"} & set(given):
            yield node.lineno


@pytest.mark.slow
def test_every_text_file_has_an_encoding() -> None:
    found = {
        str(file.relative_to(ROOT)): lines
        for file in SOURCES
        if (lines := list(without_encoding(file.read_text(encoding="utf-8"))))
    }
    assert not found, "give encoding='utf-8' in these lines"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("p.read_text()", 1),
        ("p.read_text(encoding='utf-8')", 0),
        ("p.write_text('x')", 1),
        ("open('x')", 1),
        ("open('x', 'rb')", 0),
        ("p.open('wb')", 0),
        ("p.open('w', newline='')", 1),
        ("os.open('x', os.O_RDONLY)", 0),
        ("os.fdopen(3, 'w')", 1),
        ("subprocess.run(words, text=True)", 1),
        ("subprocess.run(words, encoding='utf-8')", 0),
    ],
)
def test_the_search_finds_them(source: str, found: int) -> None:
    assert len(list(without_encoding(source))) == found


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.slow
def test_a_command_works_in_an_ascii_locale(tmp_path: Path) -> None:
    """What the terminal cannot show is shown as an escape."""
    folder = tmp_path / "results"
    done = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", "-m", "fsl_sage_flwr", "run", "--dry-run",
         f"results-dir={folder}", "preset=ĝ"],
        cwd=tmp_path, env={**os.environ, **ASCII}, capture_output=True, check=False,
    )  # fmt: skip
    said = (done.stdout + done.stderr).decode("ascii")
    assert "Traceback" not in said
    ours = [line for line in said.splitlines() if "EncodingWarning" in line and "fsl_sage" in line]
    assert not ours
