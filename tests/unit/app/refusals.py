"""Run configurations that are refused."""

import pytest
import torch

from fsl_sage_flwr.app.config import ConfigError, RunConfig


@pytest.fixture(autouse=True)
def without_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def refusal(run_config):
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_run_config(run_config)
    message = str(caught.value)
    assert "\n" not in message
    return message
