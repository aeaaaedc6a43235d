"""``fsl-sage cuts`` and ``cut = "auto"``."""

import pytest

from fsl_sage_flwr.app.assembly import build_task
from fsl_sage_flwr.app.config import ConfigError, RunConfig
from fsl_sage_flwr.simulations.cli import main
from fsl_sage_flwr.splitting import SplitError


def test_the_table_has_a_row_for_each_cut(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["cuts", "--model", "simple_conv", "--image", "1", "8", "8", "--depth", "1"]
    assert main([*words, "batch-size=64"]) == 0
    printed = capsys.readouterr().out
    assert "classifier" in printed
    assert "256" in printed
    assert "batches of 64" in printed


def test_a_wrong_model_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cuts", "--model", "resnet17"]) == 2
    assert capsys.readouterr().err.startswith("fsl-sage: model = 'resnet17': valid are")


@pytest.mark.integration
def test_auto_takes_what_the_budget_allows() -> None:
    free = build_task(RunConfig.from_run_config({"cut": "auto"}))
    tight = build_task(RunConfig.from_run_config({"cut": "auto", "client-max-params": 2000}))
    sizes = [sum(p.numel() for p in task.model.client.parameters()) for task in (free, tight)]
    assert sizes[1] <= 2000 < sizes[0]
    assert (
        tight.model.cut
        == build_task(
            RunConfig.from_run_config({"cut": "auto", "client-max-params": 2000})
        ).model.cut
    )


def test_a_budget_without_auto_or_too_small_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"client-max-params = 5: .* set cut = 'auto'"):
        RunConfig.from_run_config({"client-max-params": 5})
    config = RunConfig.from_run_config({"cut": "auto", "client-max-flops": 5})
    with pytest.raises(SplitError, match="raise client-max-params or client-max-flops"):
        build_task(config)
