"""The ``fsl-sage`` commands in the documentation: ``run`` and ``sweep`` start, the others parse."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from fsl_sage_flwr.command_line import parser
from fsl_sage_flwr.simulations import cli
from fsl_sage_flwr.simulations.commands import run, sweep
from fsl_sage_flwr.simulations.engine import Engine

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


@pytest.mark.parametrize("command", documented())
def test_a_documented_command_is_accepted(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(command, comments=True)[1:]
    monkeypatch.setattr(run, "simulate", start)
    monkeypatch.setattr(run, "check_run", lambda *_: None)  # no /data is here
    monkeypatch.setattr(run, "choose_engine", lambda *_: Engine("ray", "4 clients"))
    monkeypatch.setattr(sweep, "finished_runs", start)
    options = parser().parse_args(words)
    if words[0] not in ("run", "sweep") or str(options.preset).endswith(".toml"):
        return
    if "--import" in words:
        return  # test_tutorials.py imports the tutorial's module
    with pytest.raises(StartedError):
        cli.main(words)


def test_there_are_some() -> None:
    assert {command.split()[1] for command in documented()} >= {"run", "sweep", "cuts", "plot"}
