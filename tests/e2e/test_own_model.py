"""The examples, as a user's projects."""

import csv
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from fsl_sage_flwr import run_inline

from ..language import save_small_model
from ..tables import pictures, write_split
from .commands import ROOT, fsl_sage, run_directory, summary_of
from .other_project import Installed

pytestmark = pytest.mark.e2e

EXAMPLE = ROOT / "examples" / "own-model"
QUICKSTART = ROOT / "examples" / "quickstart-split-learning"
LEARNT = {"bert": 0.9, "unet": 0.6}  # after six rounds; chance is a half, and about 0.35


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed.make(tmp_path_factory.mktemp("wheel"))


@pytest.mark.parametrize(("name", "measure"), [("bert", "accuracy"), ("unet", "mean_iou")])
def test_a_model_with_masks_or_skips_learns_with_the_wheel_alone(
    name: str, measure: str, tmp_path: Path, installed: Installed
) -> None:
    pytest.importorskip("transformers")
    results = tmp_path / "results"
    config = {"results": str(results), "num-server-rounds": 6}
    installed.run_inline_example(name, f"own_{name}", tmp_path, config)
    (history,) = results.glob("*/history.csv")
    with history.open(encoding="utf-8", newline="") as file:
        rounds = list(csv.DictReader(file))
    assert len(rounds) == 6
    assert float(rounds[-1][f"test_{measure}"]) > LEARNT[name]


def test_example_learns_in_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLE)
    from own_model.client_app import app as client_app
    from own_model.server_app import app as server_app
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
    report = fsl_sage("report", str(results), cwd=tmp_path)
    assert report.returncode == 0, report.stderr
    assert "FSL-SAGE" in (results / "report.html").read_text(encoding="utf-8")


def test_the_language_models_example_leaves_an_adapter_that_peft_loads(
    tmp_path: Path, installed: Installed
) -> None:
    transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
    model = save_small_model(tmp_path / "tiny")
    table = tomllib.loads((ROOT / "examples/split-gpt2/pyproject.toml").read_text(encoding="utf-8"))
    config = {
        **table["tool"]["flwr"]["app"]["config"],
        "model": model, "adapter": str(tmp_path / "adapter"), "num-server-rounds": 2,
    }  # fmt: skip
    for _ in range(2):  # the second writes over the first
        installed.run_inline_example("split-gpt2", "split_gpt2", tmp_path, config)
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    base = transformers.AutoModelForCausalLM.from_pretrained(model)
    adapted = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter"))
    moved = [p for n, p in adapted.named_parameters() if "lora_B" in n]
    assert len(moved) == 3
    assert all(p.any() for p in moved)


def test_the_command_of_the_wheel_writes_over_no_completed_run(
    tmp_path: Path, installed: Installed
) -> None:
    """On Ray: away from the checkout, without a pyproject.toml beside it, it writes an app."""
    words = ("-m", "fsl_sage_flwr", "run", "--cpus", "1", "run-name=mine", "num-server-rounds=1")
    installed.python(*words, cwd=tmp_path)
    assert summary_of(run_directory(tmp_path / "results"))["completed"] is True
    with pytest.raises(AssertionError, match="holds a completed run already"):
        installed.python(*words, cwd=tmp_path)


def test_the_quickstart_runs_in_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On local images with CIFAR-10's columns: the hub cannot be reached here."""
    labels = [i % 10 for i in range(40)]
    for name in ("train", "test"):
        images = pictures(40, (32, 32, 3))
        dataset = write_split(tmp_path / "data", name, images, labels, image="img", classes=10)
    monkeypatch.syspath_prepend(QUICKSTART)
    monkeypatch.chdir(tmp_path)
    from splitapp.client_app import app as client_app
    from splitapp.server_app import app as server_app

    table = tomllib.loads((QUICKSTART / "pyproject.toml").read_text(encoding="utf-8"))
    config = {**table["tool"]["flwr"]["app"]["config"], "dataset": dataset, "num-server-rounds": 2}
    run_inline(server_app, client_app, clients=2, run_config=config)
    state = torch.load(tmp_path / "final_model.pt", weights_only=True)
    assert state["conv1.weight"].shape == (6, 3, 5, 5)
    assert state["fc3.bias"].shape == (10,)
