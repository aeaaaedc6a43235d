"""The ``fsl-sage`` commands in the documentation: ``run`` and ``sweep`` start, the others parse."""

import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from fsl_sage_flwr.cli import main
from fsl_sage_flwr.cli.entry import parse
from fsl_sage_flwr.simulations.engine import Engine

# Imported before `check_run` is replaced, or it would keep the replacement.
from fsl_sage_flwr.simulations.sweeps import preflight as _imported_first  # noqa: F401

RAY = Engine("ray", "4 clients")
ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
PAGES += (ROOT / "fsl_sage_flwr" / "simulations").rglob("*.toml")
COMMAND = r"^(?:\$ |# |pip install [^&\n]*&& )?(fsl-sage [a-z]+(?: .*)?)$"


def documented() -> list[str]:
    """Return the commands, but not what is a usage (with brackets) or stands for a name (…)."""
    found = dict[str, None]()
    for page in PAGES:
        text = re.sub(r" *\\\n *", " ", page.read_text(encoding="utf-8"))
        found |= dict.fromkeys(re.findall(COMMAND, text, flags=re.M))
    return sorted(command for command in found if not set("[…") & set(command))


class StartedError(Exception):
    """The command has found nothing wrong, and is about to begin."""


def start(*arguments: Any) -> None:
    raise StartedError


@pytest.mark.sample
@pytest.mark.parametrize("command", documented())
def test_a_documented_command_is_accepted(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(command.partition(" > ")[0], comments=True)[1:]
    for variable in ("FSL_SAGE_IMPORT", "PYTHONPATH"):  # --import announces its module in them
        monkeypatch.setenv(variable, os.environ.get(variable, ""))
    monkeypatch.setattr(sys, "path", list(sys.path))
    simulations = "fsl_sage_flwr.simulations"
    monkeypatch.setattr(f"{simulations}.run.simulate", start)
    monkeypatch.setattr(f"{simulations}.preflight.check_run", lambda *_: None)  # no /data is here
    monkeypatch.setattr(f"{simulations}.engine.choose_engine", lambda *_: RAY)
    monkeypatch.setattr(f"{simulations}.sweeps.finished.finished_runs", start)
    with monkeypatch.context() as anywhere:
        anywhere.setattr(Path, "is_dir", lambda path: True)  # of results that are not here
        parse(words)
    if words[0] not in ("run", "sweep") or any(word.endswith(".toml") for word in words):
        return
    if "--import" in words:
        return  # test_tutorials.py imports the tutorial's module
    with pytest.raises(StartedError):
        main(words)


def test_there_are_some() -> None:
    assert {command.split()[1] for command in documented()} >= {"run", "sweep", "cuts", "plot"}
