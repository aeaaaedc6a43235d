"""``fsl-sage cuts`` and ``cut = "auto"``."""

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from fsl_sage_flwr.app.assembly import build_task
from fsl_sage_flwr.app.config import ConfigError, RunConfig
from fsl_sage_flwr.cli import main
from fsl_sage_flwr.models import build_model
from fsl_sage_flwr.simulations.cut_table import cut_table
from fsl_sage_flwr.splitting import SplitError, cuts_before_tail, list_cuts


def test_the_table_has_a_row_for_each_cut(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["cuts", "model=simple_conv", "--image", "1", "8", "8", "--depth", "1"]
    assert main([*words, "batch-size=64"]) == 0
    printed = capsys.readouterr().out
    assert "classifier" in printed
    assert "256" in printed
    assert "batches of 64" in printed
    assert "server MFLOPs" in printed  # a pipe has room for all columns


@pytest.mark.slow
def test_the_model_is_the_presets_unless_it_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('model = "simple_conv"\n', encoding="utf-8")
    small = ["cuts", "--image", "1", "8", "8", "--depth", "1"]
    for words, model in (
        (["--preset", str(file)], "simple_conv"),
        (["model=simple_conv"], "simple_conv"),
        (["--preset", str(file), "model=basic_conv"], "basic_conv"),
        (["model=basic_conv", "--preset", "paper-resnet56"], "basic_conv"),
    ):
        if model == "basic_conv":
            assert main([*small, *words]) == 2
            assert "model = 'basic_conv': valid are" in capsys.readouterr().err
        else:
            assert main([*small, *words]) == 0
            assert f"cuts of {model}," in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("width", [80, 110, 300])
def test_it_fits_the_terminal_and_says_what_it_left_out(width: int) -> None:
    table, left_out = cut_table({"model": "simple_conv"}, (1, 8, 8), 10, 1, width)
    console = Console(file=io.StringIO(), width=1000)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    rows = [line for line in console.file.getvalue().splitlines() if "classifier" in line]
    assert rows
    assert len(rows[0].rstrip()) <= width
    assert "FSL-SAGE MiB" in {str(column.header) for column in table.columns}
    assert bool(left_out) == (width < 300)
    assert not {str(column.header) for column in table.columns} & set(left_out)


def test_a_wrong_model_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cuts", "model=resnet17"]) == 2
    assert capsys.readouterr().err.startswith("fsl-sage: model = 'resnet17': valid are")


@pytest.mark.slow
def test_auto_takes_what_the_budget_allows() -> None:
    free = build_task(RunConfig.from_run_config({"cut": "auto"}))
    tight = build_task(RunConfig.from_run_config({"cut": "auto", "auto-cut.max-params": 2000}))
    sizes = [sum(p.numel() for p in task.model.client.parameters()) for task in (free, tight)]
    assert sizes[1] <= 2000 < sizes[0]
    assert (
        tight.model.cut
        == build_task(
            RunConfig.from_run_config({"cut": "auto", "auto-cut.max-params": 2000})
        ).model.cut
    )


@pytest.mark.slow
def test_a_budget_without_auto_or_too_small_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"auto-cut.max-params = 5: .* set cut = 'auto'"):
        RunConfig.from_run_config({"auto-cut.max-params": 5})
    config = RunConfig.from_run_config({"cut": "auto", "auto-cut.max-flops": 5})
    with pytest.raises(SplitError, match=r"raise auto-cut\.max-params or auto-cut\.max-flops"):
        build_task(config)


@pytest.mark.slow
def test_a_tail_counts_as_the_clients(capsys: pytest.CaptureFixture[str]) -> None:
    model = build_model("simple_conv", (1, 8, 8), 10)
    example = torch.zeros(2, 1, 8, 8)
    plain = list_cuts(model, example)
    found = {cut.name: cut for cut in cuts_before_tail(model, example, plain, "classifier.4")}
    assert "classifier.4" not in found
    tail = model.get_submodule("classifier.4")
    numbers = sum(p.numel() for p in tail.parameters())
    for cut in plain:
        if cut.name in found:
            ours = found[cut.name]
            assert ours.client_parameters == cut.client_parameters + numbers
            assert ours.server_parameters == cut.server_parameters - numbers
            assert ours.client_bytes == cut.client_bytes + 4 * numbers
            assert (ours.hidden_bytes, ours.smashed_bytes) == (4 * 192, cut.smashed_bytes)
            assert ours.client_flops == cut.client_flops + 2 * 192 * 10
            assert ours.client_flops + ours.server_flops == cut.client_flops + cut.server_flops
    words = ["cuts", "model=simple_conv", "--image", "1", "8", "8", "--depth", "1"]
    assert main([*words, "labels=client", "algorithm=sl_single_server"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "with the tail from 'classifier.4'" in printed
    assert "FSL-SAGE MiB" not in printed
