"""The run configuration as a whole: keys, defaults, the device."""

import tomllib
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import torch

from fsl_sage_flwr.app.config import RunConfig, all_defaults
from fsl_sage_flwr.config.key_names import flattened

from .refusals import refusal, without_cuda  # noqa: F401 - a fixture

DEFAULTS = all_defaults()


PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("learning-rte", "did you mean 'learning-rate'?"),
        ("dataset.distribution", "did you mean 'distribution'?"),  # the paper's script
        ("zzz", "valid are algorithm, task, model, cut"),
    ],
)
def test_an_unknown_key_is_refused(key, hint):
    message = refusal({key: 1})
    assert message.startswith(f"unknown key {key!r}: ")
    assert hint in message


def test_cuda_is_refused_only_where_there_is_none(monkeypatch):
    assert "there is no CUDA device here" in refusal({"device": "cuda:1"})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert RunConfig.from_run_config({"device": "cuda:1"}).torch_device() == torch.device("cuda:1")
    assert RunConfig().torch_device().type == "cuda"


def test_auto_is_the_cpu_without_cuda():
    assert RunConfig().torch_device() == torch.device("cpu")


def test_defaults_are_those_of_the_flower_app():
    table = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["flwr"]["app"]["config"]
    app = flattened(table)
    assert list(DEFAULTS.items()) == list(app.items())
    assert [type(value) for value in DEFAULTS.values()] == [type(value) for value in app.values()]


def test_an_empty_run_config_is_the_defaults_and_they_are_valid():
    assert RunConfig.from_run_config({}) == RunConfig()
    assert RunConfig.from_run_config(DEFAULTS) == RunConfig()


def test_to_run_config_and_back():
    given = {"seed": 7, "cut": "layer2", "keep-optimizer-state": False, "alpha": 0.5}
    config = RunConfig.from_run_config(given)
    own = {key: DEFAULTS[key] for key in RunConfig().to_run_config()}
    assert config.to_run_config() == {**own, **given}
    assert RunConfig.from_run_config(config.to_run_config()) == config


def test_a_config_does_not_change():
    with pytest.raises(FrozenInstanceError):
        RunConfig().seed = 1
