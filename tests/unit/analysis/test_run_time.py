"""Hours and joules to a target of runs that exist, and where the fastest algorithm changes."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from fsl_sage_flwr.analysis import load_results
from fsl_sage_flwr.analysis.comparison import Comparison, compare
from fsl_sage_flwr.analysis.load_results import ResultsError
from fsl_sage_flwr.analysis.pictures.panels import NothingToDrawError
from fsl_sage_flwr.analysis.pictures.time_axes import time_picture
from fsl_sage_flwr.analysis.round_work import works_of
from fsl_sage_flwr.analysis.run_time import plan_runs, run_times
from fsl_sage_flwr.analysis.time_sweep import time_sweep
from fsl_sage_flwr.analysis.time_table import format_time_table, time_table
from fsl_sage_flwr.clock.fleet import fleet_of
from fsl_sage_flwr.runs.directory import RunDirectory

from ...made_runs import make_run

MB = 1_000_000


def rows(down: float, up: float, clients: int = 2) -> list[dict[str, Any]]:
    return [
        {"client": client, "node_id": client, "examples": 100, "seconds": 1.0,
         "down_bytes": down, "up_bytes": up, "failure": ""}
        for client in range(clients)
    ]  # fmt: skip


def run(
    root: Path,
    accuracies: list[float],
    algorithm: str,
    mb: float,
    *,
    flops: bool = True,
    **more: Any,
) -> Path:
    """Write a run of two clients of 100 examples, with ``mb`` megabytes down and up per round."""
    row = {"down_client_half_bytes": 2 * mb * MB, "up_client_half_bytes": 2 * mb * MB,
           "alignment_seconds": 0.0, "server_seconds": 0.0}  # fmt: skip
    path = make_run(
        root, accuracies, algorithm=algorithm, clients=2, row=row, batch_size=50,
        client_rows=rows(mb * MB, mb * MB), recorded=True, **more,
    )  # fmt: skip
    if flops:
        content = {"client": MB, "head": MB, "server": 2 * MB}
        RunDirectory.flops_of(path).write_text(json.dumps(content), encoding="utf-8")
    return path


def comparison(root: Path, target: float = 0.8) -> Comparison:
    return compare(load_results(root), target=target, mean_of=1)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    # FedAvg: three rounds of 1 MB each way; HERON-SFL: two rounds of 4 MB.
    run(tmp_path, [0.5, 0.7, 0.8, 0.9], "fed_avg", 1.0)
    run(tmp_path, [0.7, 0.85], "heron_sfl", 4.0)
    return tmp_path


def test_the_time_to_the_target_is_that_of_its_rounds(results: Path) -> None:
    judged = comparison(results)
    fleet = fleet_of("1e8", "8@100", "1e9")
    times = run_times(judged, plan_runs(judged), fleet).set_index("algorithm")
    step = 100 * 3 * 3 * MB / 1e8
    assert times["rounds"].to_dict() == {"fed_avg": 3.0, "heron_sfl": 2.0}
    assert times["seconds"]["fed_avg"] == pytest.approx(3 * (2.1 + step))
    uploads = 100 * (2 * 2 + 0.5) * MB / 1e8  # two passes of both parts, one of every second batch
    assert times["seconds"]["heron_sfl"] == pytest.approx(2 * (8.1 + uploads))
    assert times["sending"]["heron_sfl"] == pytest.approx(2 * 8.1)


@pytest.mark.slow
def test_a_run_that_never_reaches_it_has_a_lower_bound(results: Path) -> None:
    judged = comparison(results, 0.88)
    times = run_times(judged, plan_runs(judged), fleet_of())
    assert times.set_index("algorithm")["reached"].to_dict() == {
        "fed_avg": True,
        "heron_sfl": False,
    }
    text = format_time_table(judged, times)
    fed_avg, heron_sfl = text.splitlines()[2:]
    assert "> " not in fed_avg
    assert "| HERON-SFL " in heron_sfl
    assert heron_sfl.count("> ") == 3  # rounds, hours, the server's energy; the clients' is unknown
    assert time_table(judged, times)["seeds"].tolist() == [1, 1]
    assert "heron_sfl,2,1,0,2.0" in format_time_table(judged, times, "csv")
    assert "\\toprule" in format_time_table(judged, times, "latex")


@pytest.mark.slow
def test_the_table_has_the_spread_over_seeds(tmp_path: Path) -> None:
    """Of two seeds one reaches the target after two rounds, one after four."""
    run(tmp_path, [0.5, 0.9, 0.9, 0.9], "fed_avg", 1.0, seed=1, run_name="one")
    run(tmp_path, [0.5, 0.5, 0.5, 0.9], "fed_avg", 1.0, seed=2, run_name="two")
    judged = comparison(tmp_path)
    times = run_times(judged, plan_runs(judged), fleet_of("1e12", "8", "1e12"))
    (row,) = time_table(judged, times).to_dict("records")
    assert (row["seeds"], row["reached"], row["rounds"]) == (2, 2, 3.0)
    assert row["rounds_std"] == pytest.approx(2**0.5)
    seconds = times["seconds"]
    assert row["seconds_std"] == pytest.approx(seconds.diff().abs().iloc[1] / 2**0.5)
    (line,) = format_time_table(judged, times).splitlines()[2:]
    assert "3 ± 1.41" in line
    assert "> " not in line


@pytest.mark.slow
def test_a_seed_of_which_one_run_misses_the_target_is_a_lower_bound(tmp_path: Path) -> None:
    for name, last in (("one", 0.9), ("two", 0.5)):
        run(tmp_path, [0.5, last], "fed_avg", 1.0, seed=1, run_name=name)
    judged = comparison(tmp_path)
    times = run_times(judged, plan_runs(judged), fleet_of())
    (row,) = time_table(judged, times).to_dict("records")
    assert (row["seeds"], row["reached"]) == (1, 0)
    assert "> 2 " in format_time_table(judged, times)


def test_runs_are_compared_at_a_budget_of_hours(results: Path) -> None:
    judged = comparison(results)
    runs, fleet = plan_runs(judged), fleet_of("1e12", "8", "1e12")
    # Rounds of 2 and 8 seconds; the second run has two of them.
    found = run_times(judged, runs, fleet, 9 / 3600).set_index("algorithm")["at_budget"]
    assert found.to_dict() == {"fed_avg": 0.9, "heron_sfl": 0.7}
    found = run_times(judged, runs, fleet, 5 / 3600).set_index("algorithm")["at_budget"]
    assert found["fed_avg"] == 0.7
    assert math.isnan(found["heron_sfl"])
    # By default all that the shorter run has.
    times = run_times(judged, runs, fleet)
    assert times["budget_hours"][0] * 3600 == pytest.approx(8, rel=0.01)
    assert "accuracy at 8 seconds (%)" in format_time_table(judged, times)


def test_the_fastest_changes_where_the_times_are_equal(results: Path) -> None:
    judged = comparison(results)
    runs = plan_runs(judged)
    fleet = fleet_of("1e8", "8@2000", "1e9")
    sweep = time_sweep(runs, fleet, "bandwidth")
    # 3 · (16/b + 2 + 9) = 2 · (64/b + 2 + 4.5): the second has fewer rounds, and more bytes.
    (crossing,) = sweep.crossings
    assert (crossing.below, crossing.above) == ("fed_avg", "heron_sfl")
    assert crossing.place == pytest.approx(80 / 20, rel=1e-4)
    assert sweep.describe() == (
        "bandwidth: FedAvg is the fastest below 4 Mbit/s, HERON-SFL above 4 Mbit/s"
    )
    assert list(sweep.hours) == ["fed_avg", "heron_sfl"]
    assert (sweep.hours.diff().iloc[1:] < 0).all().all()
    latency = time_sweep(runs, fleet, "latency")
    assert (latency.hours.diff().iloc[1:] > 0).all().all()


@pytest.mark.slow
def test_a_picture_has_the_crossings_and_leaves_out_what_is_never_reached(results: Path) -> None:
    judged = comparison(results, 0.88)
    picture, texts = time_picture(judged, plan_runs(judged), fleet_of(), "bandwidth")
    assert picture.name == "time-bandwidth"
    assert texts == [
        "bandwidth: FedAvg is the fastest everywhere (not drawn, as they do not reach the target: "
        "HERON-SFL)"
    ]
    judged = comparison(results, 0.99)
    with pytest.raises(NothingToDrawError, match="no algorithm reaches 99 %"):
        time_picture(judged, plan_runs(judged), fleet_of(), "latency")


def test_bytes_are_divided_among_the_kinds_and_excluded_clients_left_out(tmp_path: Path) -> None:
    row = {"up_client_half_bytes": 3 * MB, "up_smashed_bytes": MB, "alignment_seconds": 0.5}
    clients = [*rows(MB, MB), {**rows(MB, MB, 3)[2], "failure": "late"}]
    make_run(tmp_path, [0.5, 0.6], row=row, client_rows=clients, clients=3)
    first, second = works_of(compare(load_results(tmp_path), mean_of=1).rounds)
    assert first.clients == (0, 1)
    assert first.up["smashed"].tolist() == [MB / 4, MB / 4]
    assert first.down == {"other": pytest.approx([MB, MB])}
    assert (first.is_new.tolist(), second.is_new.tolist()) == ([True, True], [False, False])
    assert first.flops is None
    assert first.alignment_seconds == 0.5


@pytest.mark.slow
def test_what_time_cannot_be_computed_for_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "old", [0.9], "fed_avg", 1.0, flops=False)
    judged = comparison(tmp_path / "old")
    runs = plan_runs(judged)
    with pytest.raises(ResultsError, match="recorded no FLOPs; give --device measured"):
        run_times(judged, runs, fleet_of("pi5"))
    assert run_times(judged, runs, fleet_of("measured*20"))["seconds"][0] > 0
    make_run(tmp_path / "none", [0.9])
    with pytest.raises(ResultsError, match="no rows of clients with their examples"):
        plan_runs(comparison(tmp_path / "none"))
    make_run(tmp_path / "mine", [0.9], algorithm="mine", client_rows=rows(MB, MB))
    with pytest.raises(ResultsError, match="the algorithm 'mine' declares no schedule"):
        plan_runs(comparison(tmp_path / "mine"))
    late: dict[str, Any] = {"async.buffer": 2}
    make_run(tmp_path / "late", [0.9], algorithm="cse_fsl", client_rows=rows(MB, MB), **late)
    with pytest.raises(ResultsError, match="end depends on the clock of the run"):
        plan_runs(comparison(tmp_path / "late"))
