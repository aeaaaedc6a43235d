"""Each key's valid values, and the lines that refuse others."""

import math
import os

import pytest

from fsl_sage_flwr.algorithm_registry import ALGORITHMS
from fsl_sage_flwr.app.config import ConfigError, RunConfig, all_defaults, all_settings
from fsl_sage_flwr.config import settings_of
from fsl_sage_flwr.data import DATASETS
from fsl_sage_flwr.models import MODELS
from fsl_sage_flwr.rounds.aggregation.aggregation import RULES
from fsl_sage_flwr.splitting.auxiliary import MAX_SHARE
from fsl_sage_flwr.task_registry import TASKS

from .refusals import refusal, without_cuda  # noqa: F401 - a fixture

DEFAULTS = all_defaults()


CHECKED = {
    key
    for key, entry in all_settings().items()
    if entry.bounds or entry.choices or entry.check or key in TASKS[RunConfig.task].checks
}


ABOVE_ZERO, AT_LEAST = "must be above 0", "must be at least {}"


# key: (values that are refused, a part of the message, values at the edge that are fine)
CHECKS = {
    "algorithm": (
        ["", "fslsage", "FSL_SAGE"],
        f"valid are {', '.join(ALGORITHMS)}",
        list(ALGORITHMS),
    ),
    "task": (["", "images"], "valid are image_classification, causal_lm", list(TASKS)[:1]),
    "labels": (["clients", ""], "valid are server, client", ["server"]),
    "ampere.client-rounds": ([0], AT_LEAST.format(1), [1]),
    "language.max-length": ([7], AT_LEAST.format(8), [8]),
    "language.max-test-rows": ([-1], AT_LEAST.format(0), [0]),
    "adapter.rank": ([0], AT_LEAST.format(1), [1]),
    "adapter.alpha": ([0], AT_LEAST.format(1), [1]),
    "adapter.dropout": ([-0.1, 0.91, math.nan], "at least 0 and at most 0.9", [0.0, 0.9]),
    "language.label-smoothing": ([-0.1, 0.91, math.nan], "at least 0 and at most 0.9", [0.0, 0.9]),
    "language.max-new-tokens": ([0], AT_LEAST.format(1), [1]),
    "auxiliary.blocks": ([-1], AT_LEAST.format(0), [0]),
    "model": (["", "resnet"], f"valid are {', '.join(MODELS)}", list(MODELS)),
    "auto-cut.max-params": ([-1], AT_LEAST.format(0), [0]),
    "auto-cut.max-flops": ([-1], AT_LEAST.format(0), [0]),
    "auxiliary.head": (["none"], "valid are auto, blocks, linear", ["auto", "blocks", "linear"]),
    "auxiliary.max-share": ([-0.1, 1.1], "at least 0 and at most 1", [MAX_SHARE]),
    "dataset": (
        ["mnist", "data/cifar", "~/cifar", "", "femnist:copy", "mnist:/data/x", "digits:/data/x"],
        f"valid are {', '.join(DATASETS)}, the absolute path of a local dataset directory, or "
        "NAME:PATH for a local copy of a named dataset",
        [*DATASETS, "/data/x", "femnist:/data/x"],
    ),
    "distribution": (
        ["dirichlet"],
        "valid are iid, noniid_dirichlet, shards",
        ["iid", "noniid_dirichlet", "shards"],
    ),
    "alpha": ([0.0, -1.0, math.nan], ABOVE_ZERO, [1e-3, 1e6]),
    "shards-per-client": ([0, -1], AT_LEAST.format(1), [1]),
    "data.augmentation": (
        ["flip"],
        "valid are auto, crop_flip, none",
        ["auto", "crop_flip", "none"],
    ),
    "num-server-rounds": ([0, -1], AT_LEAST.format(1), [1]),
    "local-epochs": ([0], AT_LEAST.format(1), [1]),
    "batch-size": ([1, 0, -2], AT_LEAST.format(2), [2]),
    "optimizer": (["SGD", "lamb"], "valid are adam, adamw, sgd", ["adam", "adamw", "sgd"]),
    "learning-rate": ([0.0, -1.0, math.nan], ABOVE_ZERO, [1e-9, 10.0]),
    "weight-decay": ([-1e-9, math.nan], AT_LEAST.format(0), [0.0, 1.0]),
    "momentum": ([-0.1, 1.1, math.nan], "must be at least 0 and at most 1", [0.0, 0.99]),
    "server-optimizer": (["SGD"], "valid are adam, adamw, sgd", ["adam", "adamw", "sgd"]),
    "server-learning-rate": ([0.0, math.nan], ABOVE_ZERO, [1e-9]),
    "server-weight-decay": ([-1e-9, math.nan], AT_LEAST.format(0), [0.0]),
    "server-momentum": ([-0.1, 1.1, math.nan], "must be at least 0 and at most 1", [0.0]),
    "auxiliary.learning-rate": ([0.0, math.nan], ABOVE_ZERO, [1e-9]),
    "auxiliary.lr-schedule": ([""], "valid are constant, step, multi_step, cosine", ["cosine"]),
    "heron.perturbation-scale": ([0.0, -1.0, math.nan], ABOVE_ZERO, [1e-9]),
    "heron.perturbations": ([0, -1], AT_LEAST.format(1), [1]),
    "mu-splitfed.perturbation-scale": ([0.0, -1.0, math.nan], ABOVE_ZERO, [1e-9]),
    "align.lr-schedule": (["linear"], "valid are cosine, constant", ["cosine", "constant"]),
    "lr-schedule": (
        ["lines", "step gamma=0.1 warmup=2 by=batch at=3", "step", "cosine over=2 warmup=2"],
        "",
        ["constant warmup=5", "multi_step at=1,2.5 gamma=0.5 by=batch", "cosine over=3"],
    ),
    "server-lr-schedule": (["exponential"], "valid are constant, step", ["step every=2"]),
    "auxiliary.init": (["zero"], "valid are server, random", ["server", "random"]),
    "server-steps": ([0, -1], AT_LEAST.format(1), [1, 4]),
    "server-update-interval": ([0], AT_LEAST.format(1), [1]),
    "align.interval": ([0], AT_LEAST.format(1), [1]),
    "auxiliary.groups": ([-1], AT_LEAST.format(0), [0]),
    "align.epochs": ([0], AT_LEAST.format(1), [1]),
    "align.batch-size": ([1], AT_LEAST.format(2), [2]),
    "align.dataset-size": ([3], AT_LEAST.format(4), [4]),
    "fraction-train": (
        [0.0, -0.5, 1.01, math.nan],
        "must be above 0 and at most 1",
        [0.01, 1.0],
    ),
    "fraction-reply": (
        [0.0, 1.01, math.nan],
        "must be above 0 and at most 1",
        [0.01, 1.0],
    ),
    "max-client-failures": ([-1], AT_LEAST.format(0), [0]),
    "pause-rounds": ([0], AT_LEAST.format(1), [1]),
    "robust.aggregation": (["mode"], f"valid are {', '.join(RULES)}", [*RULES]),
    "robust.trimmed-share": ([-0.1, 0.5], "must be at least 0 and at most 0.49", [0.0, 0.49]),
    "robust.assumed-malicious": ([-1], AT_LEAST.format(0), [0]),
    "proximal-mu": ([-1.0, math.nan, math.inf], AT_LEAST.format(0), [0.0, 0.1]),
    "fedopt.optimizer": (
        ["FedAdam"],
        "valid are fedavg, fedadam, fedyogi, fedavgm",
        ["fedavg", "fedadam", "fedyogi", "fedavgm"],
    ),
    "fedopt.eta": ([0.0, math.nan], ABOVE_ZERO, [1e-3]),
    "fedopt.beta-1": ([-0.1, 1.0], "must be at least 0 and at most 0.9999", [0.0, 0.9]),
    "fedopt.beta-2": ([-0.1, 1.0], "must be at least 0 and at most 0.9999", [0.0, 0.99]),
    "fedopt.tau": ([0.0, math.nan], ABOVE_ZERO, [1e-9]),
    "fedopt.server-learning-rate": ([0.0, math.nan], ABOVE_ZERO, [1.0]),
    "fedopt.server-momentum": ([-0.1, 1.1], "must be at least 0 and at most 1", [0.0, 0.9]),
    "robust.max-update-ratio": ([-1.0, math.nan, math.inf], AT_LEAST.format(0), [0.0, 10.0]),
    "fraction-evaluate": (
        [-0.1, 1.01, math.nan],
        "must be at least 0 and at most 1",
        [0.0, 1.0],
    ),
    "validation-fraction": ([0.0, 0.91], "must be above 0 and at most 0.9", [0.01, 0.9]),
    "splitfed.batches-per-exchange": ([0], AT_LEAST.format(1), [1]),
    "splitfed.server-order": (["random"], "valid are batch, client", ["batch", "client"]),
    "privacy.smashed-clip-norm": ([-1.0, math.nan, math.inf], AT_LEAST.format(0), [0.0, 1e-3]),
    "privacy.smashed-noise-multiplier": ([-1.0, math.nan, math.inf], AT_LEAST.format(0), [0.0]),
    "privacy.smashed-noise-seed": ([-1], AT_LEAST.format(0), [0]),
    "privacy.max-grad-norm": ([-1.0, math.nan, math.inf], AT_LEAST.format(0), [0.0, 1e-3]),
    "privacy.noise-multiplier": ([-1.0, math.nan, math.inf], AT_LEAST.format(0), [0.0]),
    "privacy.delta": ([-1e-9, 0.51, math.nan], "at least 0 and at most 0.5", [0.0, 1e-9, 0.5]),
    "privacy.label-epsilon": ([-1.0, math.nan, math.inf], AT_LEAST.format(0), [0.0, 0.1]),
    "async.buffer": ([-1], AT_LEAST.format(0), [0, 4]),
    "async.merge": (["add"], "valid are update, model", ["update", "model"]),
    "async.mixing": ([0.0, 1.1, math.nan], "must be above 0 and at most 1", [0.6, 1.0]),
    "async.staleness": (["linear"], "valid are constant, polynomial, hinge", ["hinge"]),
    "async.decay": ([-0.1, math.nan], AT_LEAST.format(0), [0.0, 10.0]),
    "async.grace": ([-1], AT_LEAST.format(0), [0]),
    "async.generate": ([-1], AT_LEAST.format(0), [0, 4]),
    "async.late": (["kept"], "valid are used, weighted, dropped", ["weighted", "dropped"]),
    "clock.device": (["gpu", "0", "pi5*0"], "give jetson, pi5", ["", "pi5", "1e9", "pi5*2"]),
    "clock.server": (["gpu", ""], "give jetson, pi5", ["server-gpu", "1e12"]),
    "clock.link": (["lan", "", "0", "10@-1"], "give fibre, wifi", ["lte", "10", "10/2@50"]),
    "clock.device-spread": ([0.9, math.nan, math.inf], AT_LEAST.format(1), [1.0, 5.0]),
    "clock.link-spread": ([0.9, math.nan, math.inf], AT_LEAST.format(1), [1.0, 5.0]),
    "clock.message-seconds": ([-1.0, math.nan, math.inf], AT_LEAST.format(0), [0.0, 2.5]),
    "clock.message-round-trips": ([0.5, math.nan, math.inf], AT_LEAST.format(1), [1.0, 7.5]),
    "faults.lost-clients": ([-0.1, 1.0, math.nan], "at least 0 and at most 0.9", [0.0, 0.9]),
    "faults.cut-links": ([-0.1, 1.0, math.nan], "at least 0 and at most 0.9", [0.0, 0.9]),
    "stop.accuracy": ([-0.1, 1.1, math.nan], "at least 0 and at most 1", [0.0, 0.9]),
    "stop.hours": ([-1.0, math.nan, math.inf], AT_LEAST.format(0), [0.0]),
    "stop.kilojoules": ([-1.0, math.nan, math.inf], AT_LEAST.format(0), [0.0]),
    "max-communication-mib": ([-1.0, math.nan], AT_LEAST.format(0), [0.0, 1e6]),
    "min-train-nodes": ([0], AT_LEAST.format(1), [1]),
    "round-timeout": ([0.0, -1.0, math.nan, math.inf], "at most 1e+09", [0.5, 1e9]),
    "absence-timeout": ([-1.0, math.nan, math.inf], "at most 1e+09", [0.0, 0.5]),
    "max-reply-mib": ([0.0, -1.0, math.nan], ABOVE_ZERO, [0.5]),
    "checkpoint-interval": ([-1], AT_LEAST.format(0), [0]),
    "virtual-clients": ([-1], AT_LEAST.format(0), [0, 1]),
    "device": (
        ["gpu", "", "cuda", "cuda:0", "auto:1", "cpu:", "cpu:x", "cuda:x"],
        "",
        ["auto", "cpu"],
    ),
    "compression": (["weak", "q4"], "valid are none, light, strong", ["none", "light", "strong"]),
    **{
        key: (["q5", "sign", "strong"], "valid are none, f16, q8, q4, q3, q2", ["auto", "q3"])
        for key in ("codec.smashed", "codec.gradients", "codec.client-half-down", "codec.auxiliary")
    },
    "codec.client-half-up": (["q5"], "valid are none, f16, q8, q4, q3, q2, sign", ["sign", "none"]),
    "precision": (["fp16", "bfloat16"], "valid are fp32, tf32, bf16", ["fp32", "bf16"]),
    "results-dir": (["", " "], "name a directory", [".", "/abs"]),
    "run-name": (["a/b", "..", ".", "/abs"], "it names a folder", ["", "seed-1_b.2"]),
    "tracker": (
        ["comet", "WandB"],
        "valid are tensorboard, wandb, mlflow, aim",
        ["", "tensorboard", "wandb", "mlflow", "aim"],
    ),
    "seed": ([-1], AT_LEAST.format(0), [0, 2**62]),
}


REFUSED = [(key, value) for key, (values, _, _) in CHECKS.items() for value in values]


FINE = [(key, value) for key, (_, _, values) in CHECKS.items() for value in values]


OF_ANOTHER_TYPE = {
    str: [1, True, 1.0],
    int: [1.0, "1", True],
    float: ["1.0", True],
    bool: [1, "true", 0.0],
}


def test_this_table_has_every_check():
    assert set(CHECKS) == CHECKED


def test_keys_without_a_check_are_these():
    unchecked = {
        "cut", "tail", "keep-optimizer-state", "resume", "align.warm-start", "server-pool",
        "clock.clients", "clock.replies", "clock.presence",
        "data.image-column", "data.label-column", "data.prompt-column", "data.completion-column",
        "adapter.target-modules", "language.bleu",
    }  # fmt: skip
    assert set(DEFAULTS) - CHECKED == unchecked


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_a_value_out_of_range_is_refused_by_name(key, value):
    message = refusal({key: value})
    assert message.startswith(f"{key} = {value!r}: ")
    assert CHECKS[key][1] in message


@pytest.mark.parametrize(
    "key", [key for key, value in DEFAULTS.items() if type(value) is float and key in CHECKED]
)
def test_infinity_is_refused(key):
    assert refusal({key: math.inf}).startswith(f"{key} = inf: ")


LANGUAGE = {"model": "org/name", "dataset": "e2e_nlg"}


def kind_of(key):
    """Return the task that has a key as an option; that of the default for every other."""
    return next(
        (n for n, kind in TASKS.items() if key in settings_of(kind.options)), RunConfig.task
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "resnet18"}, "model = 'resnet18': the name of a causal language model"),
        ({"dataset": "digits"}, "dataset = 'digits': e2e_nlg, the absolute path"),
        ({"distribution": "lengths"}, "did you mean 'length'?"),
    ],
)
def test_the_task_says_which_models_and_data_are_valid(values, message):
    assert message in refusal({"task": "causal_lm", **LANGUAGE, **values})
    assert RunConfig.from_run_config({"task": "causal_lm", **LANGUAGE}).model == "org/name"


@pytest.mark.parametrize(("key", "value"), FINE)
def test_a_value_at_the_edge_is_fine(key, value):
    owner = next(
        (name for name, a in ALGORITHMS.items() if key in settings_of(a.options)), "fsl_sage"
    )
    needed = {"task": kind_of(key), **LANGUAGE} if kind_of(key) == "causal_lm" else {}
    config = RunConfig.from_run_config({"algorithm": owner, **needed, key: value})
    assert config.to_run_config()[key] == value
    if key == "device":
        assert config.torch_device().type == "cpu"


@pytest.mark.parametrize("key", DEFAULTS)
def test_a_value_of_another_type_is_refused(key):
    kind = type(DEFAULTS[key])
    needed = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[kind]
    for value in OF_ANOTHER_TYPE[kind]:
        assert refusal({key: value}) == f"{key} = {value!r}: {needed} is needed"


def test_a_whole_number_is_a_fine_float():
    alpha = RunConfig.from_run_config({"alpha": 3}).alpha
    assert (alpha, type(alpha)) == (3.0, float)


def test_a_near_miss_is_answered_with_the_nearest_value():
    assert refusal({"model": "resnet19"}).endswith("did you mean 'resnet18'?")
    assert "did you mean" not in refusal({"model": "zzz"})


@pytest.mark.parametrize("key", ["seed", "num-server-rounds", "alpha"])
def test_a_number_that_flower_cannot_send_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{key} = {2**64}: it must be at most 2\*\*63 - 1$"):
        RunConfig.from_run_config({key: 2**64})
    RunConfig.from_run_config({key: 2**63 - 1})


@pytest.mark.parametrize("key", ["results-dir", "dataset", "resume"])
def test_a_path_that_is_not_utf_8_is_refused(key: str) -> None:
    path = os.fsdecode(b"/data/caf\xe9")
    with pytest.raises(ConfigError, match="bytes that are not UTF-8") as caught:
        RunConfig.from_run_config({key: path})
    assert str(caught.value).isprintable()
