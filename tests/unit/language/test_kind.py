"""``task = "causal_lm"``, from the run configuration to what a run leaves."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from flwr.app import Context, RecordDict

from fsl_sage_flwr.algorithm_registry import ALGORITHMS
from fsl_sage_flwr.app.assembly import build_task
from fsl_sage_flwr.app.config import ConfigError, RunConfig
from fsl_sage_flwr.cli import main as command
from fsl_sage_flwr.client_app import app
from fsl_sage_flwr.language import LanguageModelError, complete, load_adapted
from fsl_sage_flwr.server_app import main
from fsl_sage_flwr.task import SplitTask

from ...few_rounds import few_rounds
from ...language import language_model, save_small_model, small_run
from ...memory_grid import MemoryGrid

# Importing Transformers and PEFT takes as long as a twentieth of all other unit tests.
pytestmark = pytest.mark.slow


def finished(directory: Path, **changes: Any) -> Path:
    values = small_run(directory, **{"results-dir": str(directory / "results"), **changes})
    main(MemoryGrid(app, 2, run_config=values), Context(1, 0, {}, RecordDict(), values))
    (config,) = (directory / "results").rglob("config.json")
    return config.parent


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_run_leaves_its_history_and_its_adapter(tmp_path: Path, algorithm: str) -> None:
    settings = {"fraction-evaluate": 1.0, **few_rounds(algorithm)}
    run = finished(tmp_path, algorithm=algorithm, **settings)
    history = pd.read_csv(run / "history.csv")
    assert len(history) == 2
    assert history["failures"].sum() == 0
    assert history["test_accuracy"].isna().all()
    assert history["test_token_accuracy"].between(0, 1).all()
    torch.testing.assert_close(
        torch.tensor(history["test_perplexity"]), torch.tensor(history["test_loss"]).exp()
    )
    assert history["validation_perplexity"].notna().all()
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    assert summary["best_loss"] == history["test_loss"].min()
    assert summary["final_accuracy"] is None
    assert not list(run.glob("*.pt"))
    weights = list((run / "adapter").iterdir())
    assert {file.name for file in weights} >= {"adapter_config.json", "adapter_model.safetensors"}
    assert sum(file.stat().st_size for file in weights) < 20_000


LABELS_MAY_STAY = [name for name, one in ALGORITHMS.items() if one.labels_may_stay]


@pytest.mark.parametrize("algorithm", LABELS_MAY_STAY)
def test_completions_stay_on_the_clients_in_a_run(tmp_path: Path, algorithm: str) -> None:
    """The scores' layer is frozen, so that the adapter is that of a run that sends them."""
    adapters = []
    for labels in ("server", "client"):
        folder = tmp_path / labels
        folder.mkdir()
        run = finished(folder, algorithm=algorithm, labels=labels, **{"fraction-evaluate": 1.0})
        history = pd.read_csv(run / "history.csv")
        assert history["failures"].sum() == 0
        assert (history["up_labels_bytes"].iloc[-1] == 0) == (labels == "client")
        assert history["validation_perplexity"].notna().all()
        adapters.append((run / "adapter" / "adapter_model.safetensors").read_bytes())
    assert adapters[0] == adapters[1]


def test_peft_loads_what_a_run_leaves_and_it_is_what_was_trained(tmp_path: Path) -> None:
    run = finished(tmp_path, **{"language.bleu": True, "language.max-new-tokens": 4})
    assert (
        0
        <= json.loads((run / "summary.json").read_text(encoding="utf-8"))["figures"]["bleu"]
        <= 100
    )
    saved = torch.load(run / "checkpoints" / "latest.pt", weights_only=True)
    model, tokenizer = load_adapted(
        json.loads((run / "config.json").read_text(encoding="utf-8"))["model"], run
    )
    own = dict(model.named_parameters())
    trained = {**saved["client_half"], **saved["strategy"]["server"]["half"]}
    named = {name.removeprefix("model."): t for name, t in trained.items() if "lora_" in name}
    assert len(named) == 6
    for name, tensor in named.items():
        assert torch.equal(own[name], tensor), name
    first = complete(model, tokenizer, ["w1 w2\n", "w3\n"], max_new_tokens=5)
    assert first == [
        complete(model, tokenizer, [p], max_new_tokens=5)[0] for p in ["w1 w2\n", "w3\n"]
    ]


def test_the_command_completes_a_prompt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished(tmp_path, algorithm="fed_avg")
    assert command(["generate", str(run), "w1 w2", "--max-new-tokens", "4"]) == 0
    assert capsys.readouterr().out.strip()
    assert command(["generate", str(tmp_path), "w1"]) == 2
    assert "is not the directory of a run" in capsys.readouterr().err
    (run / "adapter").rename(run / "elsewhere")
    assert command(["generate", str(run), "w1"]) == 1
    assert "has no folder 'adapter'" in capsys.readouterr().err


def test_a_client_holds_its_half_and_the_heads_blocks_alone(tmp_path: Path) -> None:
    """Of a model of three blocks the client trains one, and its head has another."""
    config = RunConfig.from_run_config(small_run(tmp_path))
    whole, own = build_task(config), build_task(config, on_client=True)
    assert blocks_in(whole) == 3
    assert blocks_in(own) == 2
    ids = torch.randint(4, 61, (2, 12))
    ours, theirs = (t.model.client.eval()(ids) for t in (own, whole))
    assert torch.equal(ours, theirs)
    labels = torch.randint(4, 61, (2, 12))
    scores = [t.objective.loss(t.new_head("x").eval()(theirs), labels) for t in (own, whole)]
    assert torch.equal(*scores)


def test_a_client_of_whole_models_holds_all(tmp_path: Path) -> None:
    config = RunConfig.from_run_config(small_run(tmp_path, algorithm="fed_avg"))
    assert blocks_in(build_task(config, on_client=True)) == 3


def blocks_in(task: SplitTask) -> int:
    names = [name for name, _ in task.model.merged_state_dict().items()]
    return len({name.partition(".h.")[2].partition(".")[0] for name in names if ".h." in name})


@pytest.mark.parametrize("algorithm", ["cse_fsl", "fsl_sage"])
def test_a_head_may_be_a_lens(tmp_path: Path, algorithm: str) -> None:
    """One linear layer, the identity at first, before the model's own last norm and scores."""
    run = finished(tmp_path, algorithm=algorithm, **{"auxiliary.blocks": 0})
    history = pd.read_csv(run / "history.csv")
    assert history["failures"].sum() == 0
    assert (
        json.loads((run / "summary.json").read_text(encoding="utf-8"))["auxiliary_parameters"]
        == 16 * 17
    )
    task = build_task(RunConfig.from_run_config(small_run(tmp_path, **{"auxiliary.blocks": 0})))
    trained = [n for n, p in task.head.named_parameters() if p.requires_grad]
    assert [name.rpartition(".")[2] for name in trained] == ["weight", "bias"]
    hidden = torch.randn(2, 12, 16)
    inner = task.model.server.model.base_model.model
    expected = inner.lm_head(inner.transformer.ln_f(hidden))
    assert torch.equal(task.head.eval()(hidden), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "/no/such/model"}, "model = '/no/such/model': it cannot be loaded"),
        ({"adapter.target-modules": "nothing"}, "adapter.target-modules = 'nothing': "),
        (
            {"auxiliary.head": "blocks"},
            "auxiliary.head = 'blocks': auxiliary.blocks sets the number",
        ),
        (
            {"auxiliary.head": "linear"},
            "auxiliary.head = 'linear': a language model's head is made of",
        ),
        ({"cut": "auto"}, "cut = 'auto': name the first block of the server half"),
        ({"cut": ""}, "cut = '': name the first block"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, changes: Any, message: str) -> None:
    values = small_run(tmp_path, **changes)
    with pytest.raises(LanguageModelError, match=message) as caught:
        build_task(RunConfig.from_run_config(values))
    assert "\n" not in str(caught.value)


def test_without_the_extra_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = small_run(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(LanguageModelError, match=r"needs peft: pip install 'fsl-sage-flwr\[llm\]'"):
        build_task(RunConfig.from_run_config(values))


def test_an_image_model_is_no_language_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="model = 'resnet18': the name of a causal"):
        RunConfig.from_run_config(small_run(tmp_path, model="resnet18"))


def test_the_same_seed_gives_every_side_the_same_adapter(tmp_path: Path) -> None:
    from fsl_sage_flwr.language.pretrained import Lora, load_model

    name = save_small_model(tmp_path / "model")
    one, two, other = (load_model(name, Lora(), seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(tensor, two[key]) for key, tensor in one.items())
    assert any(not torch.equal(tensor, other[key]) for key, tensor in one.items())


def test_keys_that_change_nothing_are_said(tmp_path: Path) -> None:
    def idle(**changes: Any) -> set[str]:
        return set(RunConfig.from_run_config(small_run(tmp_path, **changes)).unused_keys())

    assert {"language.max-new-tokens", "data.augmentation"} <= idle()
    assert "auxiliary.blocks" not in idle()
    assert "language.max-new-tokens" not in idle(**{"language.bleu": True})
    assert "auxiliary.blocks" in idle(algorithm="fed_avg")
    assert "shards-per-client" in idle(distribution="length")
    assert "alpha" not in idle(distribution="length")


def test_heads_may_begin_as_the_server_half_was_at_first(tmp_path: Path) -> None:
    task = build_task(
        RunConfig.from_run_config(small_run(tmp_path, **{"auxiliary.init": "random"}))
    )
    assert not task.auxiliary_from_server
    first = task.new_head(0)
    for parameter in task.model.server.parameters():
        if parameter.requires_grad:
            parameter.data.add_(1.0)
    later = task.new_head(1)
    assert all(torch.equal(t, later.state_dict()[n]) for n, t in first.state_dict().items())
    later.copy_from(task.model.server)
    trained = [n for n, p in later.named_parameters() if p.requires_grad]
    assert not any(torch.equal(first.state_dict()[n], later.state_dict()[n]) for n in trained)


def test_what_is_trained_behind_the_blocks_is_trained_in_a_lens_too(tmp_path: Path) -> None:
    changes = {"auxiliary.blocks": 0, "adapter.target-modules": "c_attn,lm_head"}
    task = build_task(RunConfig.from_run_config(small_run(tmp_path, **changes)))
    trained = [n for n, p in task.head.named_parameters() if p.requires_grad]
    assert any("lm_head" in name for name in trained)
    assert set(trained) == set(task.weights_of(task.head))


def test_a_prompt_without_room_loses_its_beginning(tmp_path: Path) -> None:
    run = finished(tmp_path)
    model, tokenizer = load_adapted(
        json.loads((run / "config.json").read_text(encoding="utf-8"))["model"], run
    )
    long = " ".join(["w1"] * 100) + " w2 w3"  # the model has 32 positions
    (ours,) = complete(model, tokenizer, [long], max_new_tokens=4)
    short = " ".join(["w1"] * 26) + " w2 w3"
    assert [ours] == complete(model, tokenizer, [short], max_new_tokens=4)


def test_a_mask_that_crosses_is_not_clipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_task(RunConfig.from_run_config(small_run(tmp_path, **{"privacy.smashed-clip-norm": 1.0})))
    model = language_model("Gemma2", tied=True).model
    values = small_run(tmp_path, **{"privacy.smashed-clip-norm": 1.0, "cut": "layers.1"})
    monkeypatch.setattr("fsl_sage_flwr.language.kind.load_model", lambda *args, **more: model)
    smashed = build_task(RunConfig.from_run_config(values)).smashed_example()
    assert [tensor.is_floating_point() for tensor in smashed].count(
        True
    ) == 1  # the mask crosses as booleans
