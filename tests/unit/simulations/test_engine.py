"""Which engine a run gets, and what the first line of output says of it."""

from typing import Any

import pytest
import torch

from fsl_sage_flwr.app.config import ConfigError, RunConfig
from fsl_sage_flwr.simulations.engine import LONGEST_INLINE, choose_engine, training_seconds
from fsl_sage_flwr.simulations.federation import Federation

from ..cli.words import federation_options


@pytest.fixture(autouse=True)
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def chosen(*words: str, wanted: str = "auto", clients: int = 4, **settings: Any) -> str:
    for_ray = federation_options(*words).for_ray()
    config = RunConfig.from_run_config(settings)
    return str(choose_engine(wanted, config, Federation(clients), for_ray))


def test_the_default_run_is_inline() -> None:
    said = chosen()
    assert said.startswith(
        "engine inline: 4 clients of digits, no GPU, the clients' training takes"
    )


@pytest.mark.sample
@pytest.mark.parametrize(
    "settings",
    [
        {"num-server-rounds": 4000},
        {"local-epochs": 100},
        {"model": "resnet18"},
        {"batch-size": 2, "num-server-rounds": 100},
    ],
)
def test_a_long_run_is_on_ray(settings: dict[str, Any]) -> None:
    assert chosen(**settings).startswith(
        "engine ray: 4 clients of digits, no GPU, the clients' training takes"
    )


def test_training_of_unknown_length_is_on_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsl_sage_flwr.simulations.engine.training_cost", lambda config: None)
    assert chosen() == "engine ray: 4 clients of digits, no GPU, training of unknown length"


def test_a_gpu_is_rays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert chosen() == "engine ray: 4 clients, on a GPU"
    assert chosen(device="cpu").startswith("engine inline")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("--cpus-per-client", "1"),
        ("--gpus-per-client", "0"),
        ("--cpus", "1"),
        ("--gpus", "1"),
        ("--ray-address", "local"),
    ],
)
def test_an_option_of_ray_chooses_ray(words: tuple[str, str]) -> None:
    assert chosen(*words) == f"engine ray: 4 clients, {words[0]} is given"
    with pytest.raises(ConfigError, match=rf"--engine inline with {words[0]}: "):
        chosen(*words, wanted="inline")


def test_a_cluster_in_the_environment_is_rays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert chosen() == "engine ray: 4 clients, --ray-address is given"


def test_what_is_wanted_is_taken() -> None:
    assert chosen(wanted="ray") == "engine ray: 4 clients, as --engine says"
    assert chosen(wanted="inline", model="resnet18").startswith("engine inline")


def test_the_estimate_grows_with_the_work() -> None:
    def seconds(**settings: Any) -> float:
        found = training_seconds(RunConfig.from_run_config(settings), 4)
        assert found is not None
        return found

    default = seconds()
    assert 5 < default < LONGEST_INLINE
    assert seconds(**{"num-server-rounds": 50}) == pytest.approx(2 * default)
    assert seconds(**{"fraction-train": 0.5}) == pytest.approx(default / 2)
