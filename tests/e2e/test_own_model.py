"""The examples, as a user's projects."""

import csv
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from torch.nn import functional as F

from fsl_sage_flwr import run_inline
from fsl_sage_flwr.cli import main
from fsl_sage_flwr.simulations.app_directory import SUFFIXES

from ..language import save_small_model
from ..tables import pictures, write_split
from .commands import ROOT, run_directory, summary_of
from .other_project import Installed

pytestmark = pytest.mark.e2e

EXAMPLES = ROOT / "examples"
LEARNT = {"bert": 0.9, "unet": 0.6}  # after six rounds; chance is a half, and about 0.35
COMMAND_AND_APP = """
from pathlib import Path
from fsl_sage_flwr.cli import main
from fsl_sage_flwr.simulations.app_directory import write_app
write_app(Path.cwd())
assert main(["run", "num-server-rounds=1", "batch-size=128"]) == 0
"""


def apps_of(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[ServerApp, ClientApp]:
    """Return an example's two apps, imported from its directory."""
    monkeypatch.syspath_prepend(EXAMPLES / name)
    server, client = (import_module(f"{package}.{side}_app") for side in ("server", "client"))
    return server.app, client.app


def config_of(name: str) -> dict[str, Any]:
    table = tomllib.loads((EXAMPLES / name / "pyproject.toml").read_text(encoding="utf-8"))
    return dict(table["tool"]["flwr"]["app"]["config"])


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed.make(tmp_path_factory.mktemp("wheel"))


@pytest.mark.parametrize(("name", "measure"), [("bert", "accuracy"), ("unet", "mean_iou")])
def test_a_model_with_masks_or_skips_learns(
    name: str, measure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    server_app, client_app = apps_of(name, f"own_{name}", monkeypatch)
    config: dict[str, Any] = {"results": str(tmp_path), "num-server-rounds": 6}
    run_inline(server_app, client_app, clients=4, run_config=config)
    (history,) = tmp_path.glob("*/history.csv")
    with history.open(encoding="utf-8", newline="") as file:
        rounds = list(csv.DictReader(file))
    assert len(rounds) == 6
    assert float(rounds[-1][f"test_{measure}"]) > LEARNT[name]


def test_example_learns_in_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server_app, client_app = apps_of("own-model", "own_model", monkeypatch)
    from own_model.task import Net, data

    config: dict[str, Any] = {"results": str(tmp_path), "num-server-rounds": 20, "resume": ""}
    run_inline(server_app, client_app, clients=4, run_config=config)
    (history,) = tmp_path.glob("*/history.csv")
    assert len(history.read_text(encoding="utf-8").splitlines()) == 1 + 20
    net = Net()
    state = torch.load(history.parent / "full_model.pt", weights_only=True)
    net.load_state_dict(state, strict=True)
    inputs, labels = data(test=True)
    scores = net.eval()(inputs)
    assert (scores.argmax(1) == labels).float().mean() > 0.93
    assert F.cross_entropy(scores, labels) < 0.3


def test_example_runs_with_the_wheel_alone_and_resumes(
    tmp_path: Path, installed: Installed
) -> None:
    """By ``flwr run``, and in one process."""
    results = tmp_path / "results"
    first = f"results='{results}' num-server-rounds=1"
    said = installed.run_example("own-model", tmp_path, 39518, first)
    (directory,) = results.iterdir()
    more = {"results": str(results), "resume": str(directory), "num-server-rounds": 2}
    installed.run_inline_example("own-model", "own_model", tmp_path, more)
    (model,) = results.glob("*/full_model.pt")
    rounds = (model.parent / "history.csv").read_text(encoding="utf-8").splitlines()
    assert len(rounds) == 1 + 2, said
    assert main(["report", str(results)]) == 0
    assert "FSL-SAGE" in (results / "report.html").read_text(encoding="utf-8")


def test_the_language_models_example_leaves_an_adapter_that_peft_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
    model = save_small_model(tmp_path / "tiny")
    config = {
        **config_of("split-gpt2"),
        "model": model, "adapter": str(tmp_path / "adapter"), "num-server-rounds": 2,
    }  # fmt: skip
    server_app, client_app = apps_of("split-gpt2", "split_gpt2", monkeypatch)
    for _ in range(2):  # the second writes over the first
        run_inline(server_app, client_app, clients=4, run_config=config)
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    base = transformers.AutoModelForCausalLM.from_pretrained(model)
    adapted = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter"))
    moved = [p for n, p in adapted.named_parameters() if "lora_B" in n]
    assert len(moved) == 3
    assert all(p.any() for p in moved)


def test_the_command_of_the_wheel_trains_and_writes_the_checkouts_app(
    tmp_path: Path, installed: Installed
) -> None:
    """Away from the checkout, without a pyproject.toml beside it: on Ray it runs that app."""
    installed.python("-c", COMMAND_AND_APP, cwd=tmp_path)
    assert summary_of(run_directory(tmp_path / "results"))["completed"] is True
    app = tmp_path / "app"
    assert (app / "pyproject.toml").read_bytes() == (ROOT / "pyproject.toml").read_bytes()
    written = {path.relative_to(app): path.read_bytes() for path in app.glob("*/**/*.*")}
    del written[Path("fsl_sage_flwr/simulations/app.toml")]
    ours = {path for path in ROOT.glob("fsl_sage_flwr/**/*.*") if path.suffix in SUFFIXES}
    assert written == {path.relative_to(ROOT): path.read_bytes() for path in ours}


def test_the_quickstart_runs_in_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On local images with CIFAR-10's columns: the hub cannot be reached here."""
    labels = [i % 10 for i in range(40)]
    for name in ("train", "test"):
        images = pictures(40, (32, 32, 3))
        dataset = write_split(tmp_path / "data", name, images, labels, image="img", classes=10)
    monkeypatch.chdir(tmp_path)
    server_app, client_app = apps_of("quickstart-split-learning", "splitapp", monkeypatch)
    config = {
        **config_of("quickstart-split-learning"), "dataset": dataset, "num-server-rounds": 2,
    }  # fmt: skip
    run_inline(server_app, client_app, clients=2, run_config=config)
    state = torch.load(tmp_path / "final_model.pt", weights_only=True)
    assert state["conv1.weight"].shape == (6, 3, 5, 5)
    assert state["fc3.bias"].shape == (10,)
