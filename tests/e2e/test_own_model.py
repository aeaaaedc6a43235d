"""The examples, as a user's projects."""

import csv
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from fsl_sage_flwr import run_inline

from ..language import save_small_model
from ..tables import pictures, write_split
from .commands import ROOT, fsl_sage
from .other_project import run_example, run_inline_example

pytestmark = pytest.mark.e2e

EXAMPLE = ROOT / "examples" / "own-model"
QUICKSTART = ROOT / "examples" / "quickstart-split-learning"
LEARNT = {"bert": 0.9, "unet": 0.6}  # after six rounds; chance is a half, and about 0.35


@pytest.mark.parametrize("name", ["own-model", "split-gpt2"])
def test_example_is_a_hundred_lines(name: str) -> None:
    folder = ROOT / "examples" / name
    sources = [*folder.glob("*/*.py"), folder / "pyproject.toml"]
    assert len(sources) == 5
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in sources) <= 100


@pytest.mark.parametrize("name", ["bert", "unet"])
def test_an_examples_code_is_a_hundred_lines(name: str) -> None:
    sources = list((ROOT / "examples" / name).glob("*/*.py"))
    assert len(sources) == 4
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in sources) <= 100


@pytest.mark.parametrize(("name", "measure"), [("bert", "accuracy"), ("unet", "mean_iou")])
def test_a_model_with_masks_or_skips_learns_with_the_wheel_alone(
    name: str, measure: str, tmp_path: Path
) -> None:
    pytest.importorskip("transformers")
    results = tmp_path / "results"
    config = {"results": str(results), "num-server-rounds": 6}
    run_inline_example(name, f"own_{name}", tmp_path, config)
    (history,) = results.glob("*/history.csv")
    with history.open(encoding="utf-8", newline="") as file:
        rounds = list(csv.DictReader(file))
    assert len(rounds) == 6
    assert float(rounds[-1][f"test_{measure}"]) > LEARNT[name]


def test_example_runs_in_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLE)
    from own_model.client_app import app as client_app
    from own_model.server_app import app as server_app

    config: dict[str, Any] = {"results": str(tmp_path), "num-server-rounds": 2, "resume": ""}
    run_inline(server_app, client_app, clients=4, run_config=config)
    (history,) = tmp_path.glob("*/history.csv")
    assert len(history.read_text(encoding="utf-8").splitlines()) == 1 + 2
    assert (history.parent / "full_model.pt").is_file()


def test_example_runs_with_the_wheel_alone_twice_and_resumes(tmp_path: Path) -> None:
    results = tmp_path / "results"

    def configurations() -> Iterator[str]:
        yield f"results='{results}' num-server-rounds=1"
        (first,) = results.iterdir()
        yield f"results='{results}'"
        yield f"resume='{first}' num-server-rounds=2"

    said = run_example("own-model", tmp_path, 39518, configurations())
    runs = sorted(results.glob("*/full_model.pt"))
    rounds = [
        len((run.parent / "history.csv").read_text(encoding="utf-8").splitlines()) - 1
        for run in runs
    ]
    assert rounds == [2, 20], said
    report = fsl_sage("report", str(results), cwd=tmp_path)
    assert report.returncode == 0, report.stderr
    assert "FSL-SAGE" in (results / "report.html").read_text(encoding="utf-8")

    sys.path.insert(0, str(EXAMPLE))
    try:
        from own_model.task import Net, data
    finally:
        sys.path.remove(str(EXAMPLE))
    net = Net()
    net.load_state_dict(torch.load(runs[1], weights_only=True), strict=True)
    inputs, labels = data(test=True)
    scores = net.eval()(inputs)
    assert (scores.argmax(1) == labels).float().mean() > 0.93
    assert F.cross_entropy(scores, labels) < 0.3


def test_the_language_models_example_leaves_an_adapter_that_peft_loads(tmp_path: Path) -> None:
    transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
    model = save_small_model(tmp_path / "tiny")
    config = f"model='{model}' adapter='{tmp_path / 'adapter'}' num-server-rounds=2"
    said = run_example("split-gpt2", tmp_path, 39519, [config, config])
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file(), said
    base = transformers.AutoModelForCausalLM.from_pretrained(model)
    adapted = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter"))
    moved = [p for n, p in adapted.named_parameters() if "lora_B" in n]
    assert len(moved) == 3
    assert all(p.any() for p in moved)


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
