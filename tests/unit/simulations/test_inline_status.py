"""An inline run without a new row for a while is running, not finished."""

from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.simulations import inline, inline_process
from fsl_sage_flwr.simulations.federation import INLINE, Federation
from fsl_sage_flwr.simulations.progress import Watcher

FEDERATION = Federation(2, engine=INLINE)


def test_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, said = Event(), []

    def follow(path: Path, status: Any, watcher: Watcher, is_alive: Any) -> dict[str, Any]:
        said.append((is_alive(), status()))
        asked.set()
        while is_alive():
            pass
        said.append((False, status()))
        return {"status": "completed"}

    monkeypatch.setattr(inline, "follow", follow)
    monkeypatch.setattr(inline, "train", lambda *_: asked.wait(60))
    inline.run_in_this_process(RunConfig(), FEDERATION, tmp_path, {}, Watcher())
    assert said == [(True, "running"), (False, inline.ENDED)]


@pytest.mark.parametrize(
    ("returncode", "status"),
    [(None, "running"), (3, "finished: the process ended with status 3")],
)
def test_in_another_process(
    returncode: int | None, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = SimpleNamespace(
        poll=lambda: returncode, terminate=lambda: None, wait=lambda timeout=None: 0
    )
    monkeypatch.setattr(inline_process.subprocess, "Popen", lambda *_, **__: process)

    def follow(path: Path, told: Any, *_: Any, is_alive: Any) -> dict[str, Any]:
        assert is_alive() == (returncode is None)
        return {"status": told()}

    monkeypatch.setattr(inline_process, "follow", follow)
    summary = inline_process.run_in_a_process(
        RunConfig(), FEDERATION, tmp_path, {}, Watcher(), log=tmp_path / "run.log", stop=Event()
    )
    assert summary["status"] == status
