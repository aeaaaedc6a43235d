"""Values that do not fit together."""

import re

import pytest

from fsl_sage_flwr.algorithm_registry import ALGORITHMS
from fsl_sage_flwr.app.config import ConfigError, RunConfig

from .refusals import refusal, without_cuda  # noqa: F401 - a fixture


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"privacy.smashed-noise-multiplier": 0.5},
            "noise-multiplier = 0.5: .* set privacy.smashed-clip-norm",
        ),
        (
            {"privacy.smashed-noise-seed": 3},
            "noise-seed = 3: .* set privacy.smashed-noise-multiplier",
        ),
        ({"privacy.noise-multiplier": 0.5}, "noise-multiplier = 0.5: .* set privacy.max-grad-norm"),
        (
            {"privacy.max-grad-norm": 1.0, "algorithm": "fed_avg"},
            "privacy.max-grad-norm = 1: clients of fed_avg .* choose of .*cse_fsl",
        ),
        ({"privacy.max-grad-norm": 1.0, "algorithm": "heron_sfl"}, "clients of heron_sfl take no"),
        (
            {
                "privacy.max-grad-norm": 1,
                "algorithm": "sl_multi_server",
                "splitfed.batches-per-exchange": 2,
            },
            "splitfed.batches-per-exchange = 2: .* set it to 1",
        ),
        (
            {"privacy.max-grad-norm": 1, "privacy.noise-multiplier": 1},
            "privacy.noise-multiplier = 1: no epsilon .* privacy.delta = 0",
        ),
        (
            {"privacy.smashed-clip-norm": 1.0, "privacy.smashed-noise-seed": 3},
            "noise-seed = 3: .* set privacy.smashed-noise-multiplier",
        ),
        (
            {"privacy.smashed-clip-norm": 1.5, "algorithm": "fed_avg"},
            "clip-norm = 1.5: clients of fed_avg send no smashed data",
        ),
    ],
)
def test_noise_that_would_do_nothing_is_refused(given, message):
    assert re.search(message, refusal(given))


def test_noise_is_fine_with_its_norm():
    for given in (
        {"privacy.smashed-clip-norm": 1},
        {"privacy.smashed-clip-norm": 1, "privacy.smashed-noise-multiplier": 2},
        {"privacy.max-grad-norm": 1, "privacy.noise-multiplier": 1, "privacy.delta": 0.0},
        {
            "privacy.max-grad-norm": 1,
            "privacy.noise-multiplier": 1,
            "privacy.smashed-clip-norm": 1,
            "privacy.smashed-noise-multiplier": 2,
        },
    ):
        RunConfig.from_run_config(given)


ABLE = [name for name, one in ALGORITHMS.items() if one.labels_may_stay]


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name not in ABLE])
def test_labels_stay_only_where_the_server_needs_none(algorithm: str) -> None:
    with pytest.raises(ConfigError, match=f"labels = 'client': {algorithm} .*{ABLE[0]}"):
        RunConfig.from_run_config({"algorithm": algorithm, "labels": "client"})


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ({"cut": "auto"}, "cut = 'auto': it does not know the tail's bytes"),
        ({"splitfed.batches-per-exchange": 2}, "each batch is one exchange"),
        ({"privacy.max-grad-norm": 1.0}, "which DP-SGD does not cover"),
    ],
)
def test_what_labels_that_stay_exclude(words: dict[str, object], problem: str) -> None:
    config = {"algorithm": ABLE[0], "labels": "client"}
    assert RunConfig.from_run_config(config).labels == "client"
    with pytest.raises(ConfigError, match=problem):
        RunConfig.from_run_config({**config, **words})


def test_a_tail_has_no_effect_where_labels_are_sent() -> None:
    assert RunConfig(tail="fc").unused_keys()["tail"] == "labels"
    assert "tail" not in RunConfig(algorithm=ABLE[0], labels="client").unused_keys()
