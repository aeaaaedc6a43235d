import csv
import io
from math import isnan, sqrt

import pytest

from fsl_sage_flwr.analysis import load_results
from fsl_sage_flwr.analysis.comparison import compare
from fsl_sage_flwr.analysis.result_table import format_table, readable_table, results_table

from ...made_runs import MIB, make_run


@pytest.fixture
def comparison(tmp_path):
    make_run(tmp_path, [0.5, 0.6], seed=1, mib_a_round=3)
    make_run(tmp_path, [0.5, 0.8], seed=2, mib_a_round=3)
    make_run(tmp_path, [0.7, 0.9], algorithm="fed_avg", seed=1, mib_a_round=20)
    return compare(load_results(tmp_path), mean_of=1, target=0.7, budget=20 * MIB)


@pytest.mark.slow
def test_mean_and_deviation_over_the_seeds(comparison):
    fed_avg, sage = results_table(comparison).to_dict("records")
    assert (fed_avg["algorithm"], sage["algorithm"]) == ("fed_avg", "fsl_sage")
    assert (fed_avg["seeds"], sage["seeds"]) == (1, 2)
    assert sage["final_accuracy_mean"] == pytest.approx(0.7)
    assert sage["final_accuracy_std"] == pytest.approx(0.2 / sqrt(2))
    assert (sage["bytes_to_target_mean"], sage["reached"]) == (6 * MIB, 1)
    assert fed_avg["accuracy_at_budget_mean"] == 0.7
    assert isnan(fed_avg["final_accuracy_std"])


def test_the_same_seed_twice_is_one_seed(tmp_path):
    for interval in (3, 4):
        make_run(tmp_path, [0.5], algorithm="fed_avg", seed=1, align_interval=interval)
    make_run(tmp_path, [0.7], algorithm="fed_avg", seed=2)
    (row,) = results_table(compare(load_results(tmp_path), mean_of=1)).to_dict("records")
    assert row["seeds"] == 2
    assert row["final_accuracy_mean"] == pytest.approx(0.6)


@pytest.mark.slow
def test_what_is_read_has_units_and_says_what_was_not_reached(comparison):
    fed_avg, sage = readable_table(comparison).to_dict("records")
    assert sage == {
        "algorithm": "FSL-SAGE",
        "seeds": "2",
        "final accuracy (%)": "70.00 ± 14.14",
        "best accuracy (%)": "70.00 ± 14.14",
        "MiB to 70 %": "6.0 (1 of 2)",
        "rounds to 70 %": "2 (1 of 2)",
        "accuracy at 20.0 MiB (%)": "70.00 ± 14.14",
        "MiB in all": "6.0 ± 0.0",
        "rounds": "2 ± 0",
        "seconds": "4.0 ± 0.0",
    }
    assert fed_avg["final accuracy (%)"] == "90.00"


def test_never_reached_is_a_dash(tmp_path):
    make_run(tmp_path, [0.5])
    (row,) = readable_table(compare(load_results(tmp_path), mean_of=1, target=0.99)).to_dict(
        "records"
    )
    assert row["MiB to 99 %"] == "–"


@pytest.mark.slow
def test_markdown_csv_and_latex(comparison):
    lines = format_table(comparison, "markdown").splitlines()
    assert [cell.strip() for cell in lines[3].split("|")[1:4]] == ["FSL-SAGE", "2", "70.00 ± 14.14"]
    assert len(lines) == 4
    rows = list(csv.DictReader(io.StringIO(format_table(comparison, "csv"))))
    assert (rows[1]["algorithm"], rows[1]["bytes_mean"]) == ("fsl_sage", str(6.0 * MIB))
    latex = format_table(comparison, "latex")
    assert r"FSL-SAGE & 2 & 70.00 $\pm$ 14.14" in latex
    assert r"MiB to 70 \%" in latex
    assert latex.count("&") == 3 * 9
    assert r"\toprule" in latex


@pytest.mark.slow
def test_rows_are_in_the_order_of_the_algorithms_and_of_numbers(tmp_path):
    for alpha in (10.0, 0.1, 2.0):
        make_run(tmp_path, [0.5], distribution="noniid_dirichlet", alpha=alpha)
    make_run(tmp_path, [0.5], algorithm="cse_fsl")
    table = readable_table(compare(load_results(tmp_path), mean_of=1))
    assert table["algorithm"].tolist() == ["CSE-FSL", "FSL-SAGE", "FSL-SAGE", "FSL-SAGE"]
    assert table["alpha"].tolist() == ["–", "0.1", "2", "10"]


def test_whole_numbers_are_in_their_order(tmp_path):
    for size in (8, 100, 16):
        make_run(tmp_path, [0.5], batch_size=size)
    table = readable_table(compare(load_results(tmp_path), mean_of=1))
    assert table["batch-size"].tolist() == ["8", "16", "100"]
