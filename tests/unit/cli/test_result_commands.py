"""``fsl-sage results``, ``plot`` and ``report`` as commands."""

import csv
import io

import pytest

from fsl_sage_flwr.cli import main
from fsl_sage_flwr.runs.csv_tables import HISTORY_COLUMNS
from fsl_sage_flwr.runs.directory import RunDirectory

from ...made_runs import make_run


@pytest.fixture
def results(tmp_path):
    make_run(tmp_path / "results", [0.5, 0.75], seed=1)
    make_run(tmp_path / "results", [0.5, 0.8], seed=2)
    make_run(tmp_path / "results", [0.5], seed=3, completed=False, status="running")
    return tmp_path / "results"


def test_results_prints_the_table_and_on_the_side_what_it_assumed(results, capsys):
    assert main(["results", str(results), "--mean-of", "1"]) == 0
    printed = capsys.readouterr()
    assert printed.out.count("\n") == 3
    assert "77.50 ± 3.54" in printed.out
    assert printed.err.splitlines() == [
        "left out, not completed: fsl_sage/simple_conv/digits-iid/3 (running)",
        "communication: contents of all messages, without Flower's framing, all clients, since "
        "the run began",
        "target accuracy: 80 %, the highest whole percent that each setting reached with some seed",
        "budget: 2.0 MiB, the smallest total of the compared runs",
    ]


@pytest.mark.slow
def test_results_to_a_file_with_everything_said(results, tmp_path, capsys):
    words = ["--target", "0.7", "--budget-mib", "0.5", "--count", "reference", "--format", "csv",
             "--mean-of", "1"]  # fmt: skip
    assert main(["results", str(results), *words, "--out", str(tmp_path / "t.csv")]) == 0
    (row,) = csv.DictReader((tmp_path / "t.csv").open(encoding="utf-8"))
    assert float(row["bytes_to_target_mean"]) == 2**20
    assert float(row["accuracy_at_budget_mean"]) == 0.5
    assert capsys.readouterr().out.strip() == str(tmp_path / "t.csv")


@pytest.mark.slow
def test_the_spread_is_chosen_for_tables_and_report_alike(results, capsys):
    words = ["results", str(results), "--spread", "confidence"]
    assert main([*words, "--format", "csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    # The deviation of 75 % and 80 % over √2, times Student's t for one degree of freedom.
    assert float(row["final_accuracy_ci95"]) == pytest.approx(12.706 * 0.025, abs=1e-4)
    assert main(words) == 0
    assert "77.50 ± 31.77" in capsys.readouterr().out
    assert main(["report", *words[1:]]) == 0
    assert "Mean ± 95 % confidence interval of the mean" in (results / "report.html").read_text(
        encoding="utf-8"
    )


def test_rounds_is_the_tidy_data(results, capsys):
    assert main(["results", str(results), "--rounds"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 5
    assert set(HISTORY_COLUMNS) < set(rows[0])
    assert [row["completed"] for row in rows] == ["True"] * 4 + ["False"]


@pytest.mark.slow
def test_plot_writes_what_there_is_and_says_what_there_is_not(results, capsys):
    assert main(["plot", str(results), "--format", "svg"]) == 0
    printed = capsys.readouterr()
    names = ["accuracy-communication", "accuracy-rounds", "loss-communication", "loss-rounds"]
    written = sorted(path.name for path in (results / "pictures").iterdir())
    assert written == sorted(f"{name}.svg" for name in [*names, "time"])
    assert "not drawn, head-size: no two values of auxiliary_parameters" in printed.err


@pytest.mark.slow
def test_a_kind_by_name_is_drawn_or_refused(results, tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    assert (
        main(["plot", str(results), "--kind", "time", "--out-dir", str(out), "--bandwidth", "5"])
        == 0
    )
    assert sorted(path.name for path in out.iterdir()) == ["time.pdf", "time.png", "time.svg"]
    assert "5 Mbit/s" in capsys.readouterr().out
    assert main(["plot", str(results), "--kind", "align-interval"]) == 1
    assert capsys.readouterr().err == (
        "fsl-sage: align-interval: no two values of align.interval in the results: 2\n"
    )


@pytest.mark.slow
def test_a_pair_of_columns_is_drawn_in_place_of_the_kinds(results, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["plot", str(results), "--out-dir", str(out), "--format", "svg"]
    assert main([*words, "--x", "seconds", "--y", "server_seconds"]) == 0
    assert [path.name for path in out.iterdir()] == ["server_seconds-seconds.svg"]
    assert main([*words, "--y", "test_loss", "--kind", "time"]) == 0
    assert {path.name for path in out.iterdir()} >= {"test_loss-round.svg", "time.svg"}
    capsys.readouterr()
    assert main([*words, "--y", "beauty"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("fsl-sage: the runs have no values in 'beauty'; columns with values: ")
    assert error.count("\n") == 1


@pytest.mark.slow
def test_report_writes_a_page(results, capsys):
    assert main(["report", str(results)]) == 0
    assert "3 runs, 2 completed" in (results / "report.html").read_text(encoding="utf-8")
    assert capsys.readouterr().out.strip() == str(results / "report.html")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["results", "plot", "report", "runs"])
def test_a_broken_run_is_left_out_with_a_line_and_a_stranger_without(results, capsys, command):
    stranger, *broken = (results / name for name in ("a-stranger", "broken", "header", "other"))
    stranger.mkdir()
    (stranger / "history.csv").write_text("date,price\n2026-11-30,7\n", encoding="utf-8")
    (stranger / "summary.json").write_text('{"model": "of another program"}', encoding="utf-8")
    for folder in broken:
        RunDirectory(folder).write_summary({"completed": False, "status": "running"})
    (broken[0] / "summary.json").write_text('{"completed": ', encoding="utf-8")
    (broken[1] / "history.csv").write_text("date,price\n2026-11-30,7\n", encoding="utf-8")
    (broken[2] / "summary.json").write_text('{"model": "edited by hand"}', encoding="utf-8")
    assert main([command, str(results)]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("left out: ")]
    assert len(said) == 3
    assert said[0].startswith(f"left out: {broken[0] / 'summary.json'}: not valid JSON")
    assert said[1].startswith(f"left out: {broken[1] / 'history.csv'}: not a history: its header")
    assert said[2] == f"left out: {broken[2] / 'summary.json'}: not a run's: it has no 'completed'"


@pytest.mark.parametrize("command", ["results", "plot", "report"])
def test_no_runs_is_one_line(tmp_path, capsys, command):
    assert main([command, str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"fsl-sage: '{tmp_path}': no run is under it")
    assert error.count("\n") == 1


@pytest.mark.slow
def test_an_output_that_cannot_be_written_is_one_line(results, tmp_path, capsys):
    missing = tmp_path / "no" / "such"
    assert main(["results", str(results), "--out", str(missing / "t.md")]) == 2
    assert capsys.readouterr().err.startswith(f"fsl-sage: --out '{missing / 't.md'}': there is no")
    file = tmp_path / "file"
    file.touch()
    assert main(["plot", str(results), "--out-dir", str(file)]) == 2
    assert "cannot be created" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["results", "x", "--target", "0"],
        ["results", "x", "--budget-mib", "0"],
        ["results", "x", "--count", "all"],
        ["plot", "x", "--bandwidth", "-1"],
        ["plot", "x", "--kind", "pie"],
        ["plot", "x", "--format", "gif"],
        ["plot", "x", "--bytes-scale", "wide"],
    ],
)
def test_a_wrong_option_exits_with_2(words, tmp_path, capsys):
    assert main([words[0], str(tmp_path), *words[2:]]) == 2
    assert words[3].lstrip("-") in capsys.readouterr().err
