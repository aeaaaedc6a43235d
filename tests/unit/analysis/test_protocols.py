"""Quality under a budget, cost to a target, robustness: figures added up by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fsl_sage_flwr.analysis import load_results
from fsl_sage_flwr.analysis.comparison import HOURS, KILOJOULES, compare
from fsl_sage_flwr.analysis.pictures import draw
from fsl_sage_flwr.analysis.pictures.panels import NothingToDrawError
from fsl_sage_flwr.analysis.protocols import (
    budgets_of,
    format_protocols,
    protocol_table,
    readable_protocols,
)
from fsl_sage_flwr.analysis.result_table import readable_table
from fsl_sage_flwr.analysis.robustness import Disturbed, disturbed_runs
from fsl_sage_flwr.runs.virtual_time import JOULES, SECONDS

from ...made_runs import MIB, make_run


def run(
    root: Path,
    accuracies: list[float],
    algorithm: str,
    *,
    hours: float = 0.5,
    joules: float = 2000.0,
    seed: int = 1,
    mib: float = 1.0,
    **faults: float,
) -> Path:
    """Write a run with these hours and joules a round on its clock."""
    keys: dict[str, Any] = {f"faults.{k.replace('_', '-')}": v for k, v in faults.items()}
    return make_run(
        root, accuracies, algorithm=algorithm, seed=seed, mib_a_round=mib, num_server_rounds=9,
        row={SECONDS: 3600 * hours, JOULES: joules},
        **{"run_name": f"{algorithm}-{seed}-{'-'.join(map(str, faults.items()))}", **keys},
    )  # fmt: skip


@pytest.fixture
def results(tmp_path: Path) -> pd.DataFrame:
    run(tmp_path, [0.5, 0.6, 0.7, 0.8], "fed_avg", mib=4.0)
    run(tmp_path, [0.4, 0.5, 0.6], "fed_avg", mib=4.0, lost_clients=0.25)
    run(tmp_path, [0.6, 0.7], "cse_fsl", hours=1.0, joules=3000.0)
    run(tmp_path, [0.6, 0.5], "cse_fsl", hours=1.0, joules=3000.0, lost_clients=0.25)
    run(tmp_path, [0.6, 0.75], "cse_fsl", hours=1.0, joules=3000.0, cut_links=0.5)
    return load_results(tmp_path)


def found(results: pd.DataFrame, target: float = 0.7) -> Disturbed:
    return disturbed_runs(results, target=target, mean_of=1)


def test_each_protocol_by_hand(results: pd.DataFrame) -> None:
    runs = found(results)
    budgets = budgets_of(runs.comparison, {})
    # The smallest totals: CSE-FSL's bytes, 2 hours of either, CSE-FSL's joules.
    assert budgets == {"bytes": 2 * MIB, HOURS: 2.0, KILOJOULES: 6.0}
    fed_avg, cse_fsl = protocol_table(runs, budgets).to_dict("records")
    assert [row["algorithm"] for row in (fed_avg, cse_fsl)] == ["fed_avg", "cse_fsl"]
    assert math.isnan(fed_avg["accuracy_at_bytes"])  # a round takes 4 MiB
    assert fed_avg["accuracy_at_virtual_hours"] == 0.8
    assert fed_avg["accuracy_at_kilojoules"] == 0.7  # three rounds of 2 kJ
    assert [cse_fsl[f"accuracy_at_{cost}"] for cost in budgets] == [0.7, 0.7, 0.7]
    assert [fed_avg[f"{cost}_to_target"] for cost in budgets] == [12 * MIB, 1.5, 6.0]
    assert [cse_fsl[f"{cost}_to_target"] for cost in budgets] == [2 * MIB, 2.0, 6.0]
    # After three rounds, which both of FedAvg's runs have: 70 % against 60 %.
    assert fed_avg["25 % of clients lost"] == pytest.approx(0.1)
    assert cse_fsl["25 % of clients lost"] == pytest.approx(0.2)
    assert math.isnan(fed_avg["50 % of links cut"])
    assert cse_fsl["50 % of links cut"] == pytest.approx(-0.05)


@pytest.mark.slow
def test_budgets_may_be_given(results: pd.DataFrame) -> None:
    runs = found(results)
    budgets = budgets_of(runs.comparison, {"bytes": 8 * MIB, HOURS: 1.0})
    fed_avg, cse_fsl = protocol_table(runs, budgets).to_dict("records")
    assert (fed_avg["accuracy_at_bytes"], fed_avg["accuracy_at_virtual_hours"]) == (0.6, 0.6)
    assert (cse_fsl["accuracy_at_bytes"], cse_fsl["accuracy_at_virtual_hours"]) == (0.7, 0.6)


@pytest.mark.slow
def test_seeds_are_paired_and_averaged(tmp_path: Path) -> None:
    for seed, (plain, disturbed) in enumerate([(0.9, 0.8), (0.7, 0.4)]):
        run(tmp_path, [plain], "cse_fsl", seed=seed)
        run(tmp_path, [disturbed], "cse_fsl", seed=seed, cut_links=0.5)
    runs = found(load_results(tmp_path), target=0.8)
    (row,) = protocol_table(runs, budgets_of(runs.comparison, {})).to_dict("records")
    assert row["50 % of links cut"] == pytest.approx((0.1 + 0.3) / 2)
    assert row["50 % of links cut_std"] == pytest.approx(0.2 / math.sqrt(2))
    assert (row["seeds"], row["reached"]) == (2, 1)
    # One seed never reaches it: no mean, and no spread of the others.
    assert math.isnan(row["bytes_to_target"])
    assert math.isnan(row["bytes_to_target_std"])
    (text,) = readable_protocols(runs, budgets_of(runs.comparison, {})).to_dict("records")
    assert text["accuracy at 1 MiB (%)"] == "80.00 ± 14.14"
    assert text["MiB to 80 %"] == "–"
    assert text["points lost: 50 % of links cut"] == "20.00 ± 14.14"


@pytest.mark.slow
def test_the_spread_of_a_cost_is_over_seeds_that_all_reach_the_target(tmp_path: Path) -> None:
    run(tmp_path, [0.9], "cse_fsl", seed=1, mib=1.0)
    run(tmp_path, [0.5, 0.9], "cse_fsl", seed=2, mib=1.0)
    run(tmp_path, [0.9], "fed_avg", seed=1, mib=4.0)
    runs = found(load_results(tmp_path), target=0.8)
    fed_avg, cse_fsl = readable_protocols(runs, budgets_of(runs.comparison, {})).to_dict("records")
    assert fed_avg["MiB to 80 %"] == "4"  # one seed has no spread
    assert cse_fsl["MiB to 80 %"] == "1.5 ± 0.707"


@pytest.mark.slow
def test_keys_without_effect_separate_no_pair(tmp_path: Path) -> None:
    disturbed: dict[str, Any] = {"faults.lost-clients": 0.5}
    for interval in (5, 10):
        for faults in ({}, disturbed):
            make_run(tmp_path, [0.9 - len(faults) / interval], algorithm="fsl_sage", seed=1,
                     align_interval=interval, num_server_rounds=9, **faults)  # fmt: skip
    # FedAvg has no alignment, whatever its key says.
    make_run(tmp_path, [0.9], algorithm="fed_avg", seed=1, align_interval=5, num_server_rounds=9)
    make_run(tmp_path, [0.6], algorithm="fed_avg", seed=1, align_interval=10, num_server_rounds=9,
             **disturbed)  # fmt: skip
    runs = found(load_results(tmp_path))
    ((_, lost),) = runs.lost.items()
    assert sorted(lost.values()) == [pytest.approx(value) for value in (0.1, 0.2, 0.3)]


def test_a_disturbed_run_without_a_partner_is_named(tmp_path: Path) -> None:
    run(tmp_path, [0.9], "cse_fsl", seed=1)
    run(tmp_path, [0.9], "cse_fsl", seed=2, lost_clients=0.5)
    runs = found(load_results(tmp_path))
    assert runs.lost == {}
    assert runs.notes[-1].startswith("without an undisturbed run of the same settings: cse_fsl")


@pytest.mark.slow
def test_the_same_rounds_are_compared_as_means_of_several(tmp_path: Path) -> None:
    run(tmp_path, [0.5, 0.6, 0.7], "cse_fsl")
    run(tmp_path, [0.5, 0.5, 0.6], "cse_fsl", lost_clients=0.5)
    runs = disturbed_runs(load_results(tmp_path), target=0.6, mean_of=2)
    ((_, lost),) = runs.lost.items()
    assert list(lost.values()) == [pytest.approx(0.65 - 0.55)]


@pytest.mark.slow
def test_a_higher_loss_is_lost_quality(tmp_path: Path) -> None:
    plain = run(tmp_path, [0.8], "cse_fsl")
    for path in (plain, run(tmp_path, [0.5], "cse_fsl", lost_clients=0.5)):
        history = pd.read_csv(path / "history.csv")
        history.assign(test_accuracy=None).to_csv(path / "history.csv", index=False)
    runs = found(load_results(tmp_path), target=1.0)
    ((_, lost),) = runs.lost.items()
    assert list(lost.values()) == [pytest.approx(1.0 - 0.4)]  # made_runs: loss 2 (1 - accuracy)
    text = readable_protocols(runs, budgets_of(runs.comparison, {}))
    assert text["loss lost: 50 % of clients lost"].tolist() == ["0.600"]


@pytest.mark.slow
def test_the_table_has_units_and_formats(results: pd.DataFrame) -> None:
    runs = found(results)
    budgets = budgets_of(runs.comparison, {})
    fed_avg, cse_fsl = readable_protocols(runs, budgets).to_dict("records")
    assert fed_avg == {
        "algorithm": "FedAvg",
        "accuracy at 2 MiB (%)": "–",
        "accuracy at 2 hours (%)": "80.00",
        "accuracy at 6 kJ (%)": "70.00",
        "MiB to 70 %": "12",
        "hours to 70 %": "1.5",
        "kJ to 70 %": "6",
        "points lost: 25 % of clients lost": "10.00",
        "points lost: 50 % of links cut": "–",
    }
    assert cse_fsl["points lost: 50 % of links cut"] == "-5.00"
    assert "FedAvg" in format_protocols(runs, budgets)
    assert r"25 \% of clients lost" in format_protocols(runs, budgets, "latex")
    first = format_protocols(runs, budgets, "csv").splitlines()[1]
    assert first.startswith("fed_avg,1,1,")


@pytest.mark.slow
def test_results_and_pictures_know_the_clock(tmp_path: Path) -> None:
    run(tmp_path, [0.5, 0.8], "fed_avg")
    run(tmp_path, [0.7, 0.9], "cse_fsl", hours=0.25)
    comparison = compare(load_results(tmp_path), target=0.8, mean_of=1)
    fed_avg, cse_fsl = readable_table(comparison).to_dict("records")
    assert (fed_avg["hours to 80 %"], fed_avg["hours in all"]) == ("1", "1")
    assert (cse_fsl["hours to 80 %"], cse_fsl["kJ to 80 %"]) == ("0.5", "4")
    (axes,) = draw("accuracy-hours", comparison, 100.0).figure.get_axes()
    assert axes.get_xlabel() == "virtual time (hours)"
    (axes,) = draw("accuracy-joules", comparison, 100.0).figure.get_axes()
    assert axes.get_xlabel() == "energy of the clients (kJ)"


def test_without_a_clock_there_is_nothing_to_draw_against_hours(tmp_path: Path) -> None:
    make_run(tmp_path, [0.5, 0.8])
    comparison = compare(load_results(tmp_path), mean_of=1)
    assert "hours in all" not in readable_table(comparison)
    with pytest.raises(NothingToDrawError, match=r"virtual clock's hours; set clock.device"):
        draw("accuracy-hours", comparison, 100.0)


def test_runs_of_which_one_has_no_clock_have_no_hours(tmp_path: Path) -> None:
    run(tmp_path, [0.5, 0.8], "fed_avg")
    make_run(tmp_path, [0.5, 0.8], algorithm="cse_fsl")
    assert HOURS not in compare(load_results(tmp_path), mean_of=1).rounds


def test_no_undisturbed_run_is_refused(tmp_path: Path) -> None:
    path = run(tmp_path, [0.9], "cse_fsl", lost_clients=0.5)
    assert (
        json.loads((path / "config.json").read_text(encoding="utf-8"))["faults.lost-clients"] == 0.5
    )
    with pytest.raises(ValueError, match="no completed run to compare"):
        found(load_results(tmp_path))
