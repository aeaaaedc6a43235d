"""The code of the README and of the tutorials runs as it is printed."""

import importlib
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flwr.app import Context, RecordDict

from fsl_sage_flwr.algorithm_registry import ALGORITHMS
from fsl_sage_flwr.app.assembly import build_task
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.server_app import main
from fsl_sage_flwr.simulations.app_directory import write_app

from ..memory_grid import MemoryGrid
from .test_server_app import run_directory, summary_of

ROOT = Path(__file__).parents[2]
TUTORIALS = ROOT / "docs" / "tutorials"


def code_of(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S)


@pytest.mark.slow
def test_the_readmes_lines_of_python_train(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = code_of(ROOT / "README.md")
    exec(code, {"__name__": "__main__"})
    assert float(capsys.readouterr().out.split("accuracy ")[-1]) > 0.9


@pytest.fixture
def algorithm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Yield the server's side of the tutorial's algorithm, imported as ``--import`` does."""
    package = tmp_path / "cse_prox"
    package.mkdir()
    (package / "__init__.py").touch()
    for code in code_of(TUTORIALS / "own-algorithm.md"):
        name = code.partition("\n")[0].removeprefix("# cse_prox/")
        (package / name).write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("cse_prox.server")
    ALGORITHMS.remove("cse_prox")
    for name in [name for name in sys.modules if name.partition(".")[0] == "cse_prox"]:
        del sys.modules[name]


@pytest.mark.slow
def test_the_tutorials_algorithm_trains(algorithm: ModuleType, tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "algorithm": "cse_prox", "prox.pull": 0.05, "num-server-rounds": 2,
        "results-dir": str(tmp_path),
    }  # fmt: skip
    app = build_client_app(lambda context: build_task(RunConfig.from_run_config(config)))
    main(MemoryGrid(app, 2, run_config=config), Context(1, 0, {}, RecordDict(), config))
    assert summary_of(run_directory(tmp_path))["completed"] is True


def test_flower_gets_the_keys_of_an_imported_algorithm(
    algorithm: ModuleType, tmp_path: Path
) -> None:
    """Flower refuses a run with a key that the app's table does not have."""
    table = tomllib.loads((write_app(tmp_path) / "pyproject.toml").read_text(encoding="utf-8"))
    assert table["tool"]["flwr"]["app"]["config"]["prox"] == {"pull": 0.01}
