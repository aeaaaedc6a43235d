"""``fsl-sage time`` as a command."""

from pathlib import Path
from typing import Any

import pytest

from fsl_sage_flwr.cli import main

from ..analysis.test_run_time import run


@pytest.fixture
def results(tmp_path: Path) -> Path:
    run(tmp_path / "r", [0.5, 0.8], "fed_avg", 1.0)
    run(tmp_path / "r", [0.7, 0.9], "heron_sfl", 4.0)
    return tmp_path / "r"


@pytest.mark.slow
def test_it_prints_the_table_and_draws_two_pictures(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--link", "lte", "--device", "pi5", "--server", "server-gpu", "--target", "0.8"]
    words += ["--mean-of", "1", "--pictures", "svg"]
    assert main(["time", str(results), *words]) == 0
    printed = capsys.readouterr()
    assert "seconds to 80 %" in printed.out
    assert "| FedAvg      |                2 |" in printed.out
    written = sorted(path.name for path in (results / "pictures").iterdir())
    assert written == ["time-bandwidth.svg", "time-latency.svg"]
    # Its bytes decide on slow links, HERON-SFL's fewer FLOPs on fast ones.
    assert "bandwidth: FedAvg is the fastest below " in printed.err
    assert "latency: FedAvg is the fastest everywhere" in printed.err


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--link", "lan"], "link 'lan' is not valid"),
        (["--device", "gpu"], "device 'gpu' is not valid"),
        (["--server", "0"], "device '0' is not valid"),
        (["--link-spread", "0"], "link spread 0: it must be at least 1"),
        (["--clients", "missing.csv"], "missing.csv: cannot be read"),
    ],
)
def test_a_wrong_word_is_explained_in_one_line(
    results: Path, words: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["time", str(results), *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert problem in line


@pytest.mark.slow
def test_the_three_protocols_are_one_table(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faults: dict[str, Any] = {"faults.lost-clients": 0.25}
    run(results, [0.4, 0.6], "fed_avg", 1.0, **faults)
    words = ["--link", "lte", "--device", "pi5", "--server", "server-gpu", "--target", "0.8"]
    words += ["--mean-of", "1", "--protocols", "--budget-mib", "1", "--format", "csv"]
    assert main(["time", str(results), *words]) == 0
    header, fed_avg, heron = capsys.readouterr().out.splitlines()
    figures = [
        "accuracy_at_bytes", "accuracy_at_virtual_hours", "accuracy_at_kilojoules",
        "bytes_to_target", "virtual_hours_to_target", "kilojoules_to_target",
        "25 % of clients lost",
    ]  # fmt: skip
    each = [name for figure in figures for name in (figure, f"{figure}_std")]
    assert header.split(",") == ["algorithm", "seeds", "reached", *each]
    assert fed_avg.split(",")[:4] == ["fed_avg", "1", "1", "0.5"]
    assert float(fed_avg.split(",")[-2]) == pytest.approx(0.2)
    assert heron.endswith(",,")
    assert not (results / "pictures").exists()
