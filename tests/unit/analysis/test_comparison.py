import math

import pandas as pd
import pytest

from fsl_sage_flwr.analysis import ResultsError, load_results
from fsl_sage_flwr.analysis.comparison import compare, run_figures
from fsl_sage_flwr.analysis.measure import ACCURACY, LOSS, PERPLEXITY
from fsl_sage_flwr.analysis.result_table import readable_table

from ...made_runs import MIB, make_run


def figures(comparison, run):
    rows = run_figures(comparison)
    (row,) = rows[rows["run"].str.endswith(run)].to_dict("records")
    return row


def test_figures_of_a_run(tmp_path):
    make_run(tmp_path, [0.3, 0.6, 0.9, 0.8], mib_a_round=2, run_name="x")
    comparison = compare(load_results(tmp_path), mean_of=1, target=0.6, budget=5 * MIB)
    row = figures(comparison, "x")
    assert row["final_accuracy"] == 0.8
    assert row["best_accuracy"] == 0.9
    assert row["bytes_to_target"] == 4 * MIB
    assert row["rounds_to_target"] == 2
    assert row["accuracy_at_budget"] == 0.6
    assert (row["bytes"], row["rounds"], row["seconds"]) == (8 * MIB, 4, 8.0)


@pytest.mark.slow
def test_what_is_never_reached_is_no_number(tmp_path):
    make_run(tmp_path, [0.3, 0.6], run_name="x")
    row = figures(compare(load_results(tmp_path), mean_of=1, target=0.7, budget=MIB / 2), "x")
    assert math.isnan(row["bytes_to_target"])
    assert math.isnan(row["rounds_to_target"])
    assert math.isnan(row["accuracy_at_budget"])


@pytest.mark.slow
def test_the_reference_counts_its_own_bytes(tmp_path):
    make_run(tmp_path, [0.3, 0.6], run_name="x")
    comparison = compare(
        load_results(tmp_path), mean_of=1, target=0.6, budget=MIB, count="reference"
    )
    row = figures(comparison, "x")
    assert row["bytes_to_target"] == MIB
    assert row["accuracy_at_budget"] == 0.6
    assert "raw tensors, labels free" in comparison.notes[0]


@pytest.mark.slow
def test_defaults_are_what_every_setting_has(tmp_path):
    make_run(tmp_path, [0.5, 0.579], algorithm="fed_avg", seed=1)
    make_run(tmp_path, [0.5, 0.3], algorithm="fed_avg", seed=2)
    make_run(tmp_path, [0.5, 0.6, 0.9], mib_a_round=0.5)
    comparison = compare(load_results(tmp_path), mean_of=1)
    assert comparison.target == 0.57
    assert comparison.budget == 1.5 * MIB
    assert any("57 %, the highest whole percent" in note for note in comparison.notes)
    assert any("1.5 MiB, the smallest total" in note for note in comparison.notes)


def test_a_whole_percent_that_is_reached_exactly_is_the_target(tmp_path):
    make_run(tmp_path, [0.58])  # 100 * 0.58 is below 58 in floating point
    assert compare(load_results(tmp_path), mean_of=1).target == 0.58


def test_runs_left_out_are_named_with_their_reason(tmp_path):
    make_run(tmp_path, [0.5], run_name="good")
    make_run(tmp_path, [0.9], run_name="bad", completed=False, status="OSError: disk\nmore")
    comparison = compare(load_results(tmp_path), mean_of=1)
    assert set(comparison.rounds["run"]) == {"fsl_sage/simple_conv/digits-iid/good"}
    assert comparison.notes[0] == (
        "left out, not completed: fsl_sage/simple_conv/digits-iid/bad (OSError: disk)"
    )


def test_nothing_completed_is_an_error(tmp_path):
    make_run(tmp_path, [0.9], run_name="bad", completed=False, status="running")
    with pytest.raises(ResultsError, match=r"no completed run to compare; .*bad \(running\)"):
        compare(load_results(tmp_path), mean_of=1)


@pytest.mark.slow
def test_settings_are_the_keys_that_differ_and_matter(tmp_path):
    for seed in (1, 2):
        make_run(tmp_path, [0.5], seed=seed, align_interval=5)
        make_run(tmp_path, [0.5], seed=seed, distribution="noniid_dirichlet", alpha=0.1)
        make_run(tmp_path, [0.5], seed=seed, algorithm="fed_avg", align_interval=7, clients=9)
    comparison = compare(load_results(tmp_path), mean_of=1)
    assert comparison.settings == (
        "algorithm", "distribution", "align.interval", "num-supernodes",
    )  # fmt: skip
    runs = comparison.rounds.drop_duplicates("run").set_index("algorithm")
    assert runs.loc["fed_avg", "align.interval"].isna().all()
    assert sorted(runs.loc["fsl_sage", "align.interval"]) == [2, 2, 5, 5]


@pytest.mark.slow
def test_only_an_alpha_that_is_used_differs(tmp_path):
    for alpha in (0.1, 1.0):
        make_run(tmp_path, [0.5], distribution="iid", alpha=alpha)
    assert compare(load_results(tmp_path), mean_of=1).settings == ("algorithm",)


def test_numbers_as_text():
    assert [ACCURACY.text(0.9), ACCURACY.text(0.123456)] == ["90 %", "12.35 %"]


def of_a_language_model(root, losses, **settings):
    """Write a run that has no accuracy; its perplexities are ten times its losses."""
    path = make_run(root, [1 - loss / 2 for loss in losses], **settings)
    history = pd.read_csv(path / "history.csv")
    history["test_accuracy"], history["test_perplexity"] = None, [10 * loss for loss in losses]
    history.to_csv(path / "history.csv", index=False)


@pytest.mark.slow
def test_without_accuracy_runs_are_judged_by_perplexity_and_less_is_better(tmp_path):
    of_a_language_model(tmp_path, [2.0, 0.5, 0.8], run_name="x")
    of_a_language_model(tmp_path, [1.0, 0.7123, 0.9], algorithm="cse_fsl", run_name="y")
    comparison = compare(load_results(tmp_path), mean_of=1)
    assert comparison.measure == PERPLEXITY
    assert comparison.target == 7.13
    assert any(
        "target perplexity: 7.13, the lowest that each setting" in n for n in comparison.notes
    )
    row = figures(comparison, "x")
    assert (row["final_perplexity"], row["best_perplexity"]) == (8.0, 5.0)
    assert (row["bytes_to_target"], row["perplexity_at_budget"]) == (2 * MIB, 8.0)
    headings = list(readable_table(comparison).columns)
    assert headings[2:6] == ["final perplexity", "best perplexity", "MiB to 7.13", "rounds to 7.13"]


def test_without_either_they_are_judged_by_loss(tmp_path):
    make_run(tmp_path, [0.5, 0.6], run_name="x", row={"test_accuracy": None})
    comparison = compare(load_results(tmp_path), mean_of=1)
    assert comparison.measure == LOSS
    assert comparison.target == 0.8


def test_a_target_that_is_no_accuracy_is_refused(tmp_path):
    make_run(tmp_path, [0.5], run_name="x")
    with pytest.raises(ResultsError, match="--target 90 is no accuracy between 0 and 1"):
        compare(load_results(tmp_path), mean_of=1, target=90.0)


@pytest.mark.slow
def test_one_round_above_the_target_does_not_reach_it(tmp_path):
    make_run(tmp_path, [0.5, 0.82, 0.5, 0.78, 0.8, 0.85, 0.79], run_name="x")
    comparison = compare(load_results(tmp_path), target=0.81, budget=4 * MIB)
    assert comparison.mean_of == 3
    assert comparison.target_text == "81 % (mean of 3 rounds)"
    row = figures(comparison, "x")
    assert row["rounds_to_target"] == 6  # the mean of 0.78, 0.80 and 0.85
    assert row["bytes_to_target"] == 6 * MIB
    assert row["accuracy_at_budget"] == pytest.approx((0.82 + 0.5 + 0.78) / 3)
    assert row["best_accuracy"] == 0.85
    assert figures(compare(load_results(tmp_path), mean_of=1, target=0.81), "x")[
        "rounds_to_target"
    ] == 2  # fmt: skip


@pytest.mark.slow
def test_the_default_target_is_a_mean_that_every_setting_has(tmp_path):
    make_run(tmp_path, [0.5, 0.9, 0.7, 0.71], run_name="x")
    make_run(tmp_path, [0.8, 0.8, 0.8], run_name="y", algorithm="cse_fsl")
    assert compare(load_results(tmp_path)).target == 0.77  # of 0.9, 0.7 and 0.71


@pytest.mark.slow
def test_runs_of_fewer_rounds_have_the_mean_of_what_they_have(tmp_path):
    make_run(tmp_path, [0.5, 0.7], run_name="x")
    comparison = compare(load_results(tmp_path), target=0.6)
    assert (comparison.mean_of, figures(comparison, "x")["rounds_to_target"]) == (2, 2)


def test_a_mean_of_no_rounds_is_refused(tmp_path):
    make_run(tmp_path, [0.5])
    with pytest.raises(ResultsError, match="mean_of = 0: give at least 1 round"):
        compare(load_results(tmp_path), mean_of=0)
