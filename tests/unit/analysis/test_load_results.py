import json
import warnings

import pandas as pd
import pytest

from fsl_sage_flwr.analysis import ResultsError, load_results
from fsl_sage_flwr.analysis.comparison import compare
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.runs.csv_tables import HISTORY_COLUMNS
from fsl_sage_flwr.runs.directory import RunDirectory

from ...made_runs import MIB, make_run


def test_one_row_per_run_and_round(tmp_path):
    make_run(tmp_path, [0.5, 0.75], seed=1)
    make_run(tmp_path, [0.25], algorithm="fed_avg", head=0)
    rows = load_results(tmp_path)
    assert rows[["run", "round", "test_accuracy", "comm_bytes"]].values.tolist() == [
        ["fed_avg/simple_conv/digits-iid/run", 1, 0.25, MIB],
        ["fsl_sage/simple_conv/digits-iid/1", 1, 0.5, MIB],
        ["fsl_sage/simple_conv/digits-iid/1", 2, 0.75, 2 * MIB],
    ]
    assert set(rows) >= {*HISTORY_COLUMNS, *RunConfig().to_run_config()}
    assert rows["algorithm"].tolist() == ["fed_avg", "fsl_sage", "fsl_sage"]
    assert rows["seed"].tolist() == [200, 1, 1]
    assert rows["num-supernodes"].tolist() == [4, 4, 4]
    assert rows["auxiliary_parameters"].tolist() == [0, 100, 100]
    assert rows["completed"].tolist() == [True] * 3
    assert rows["alignment_cosine"].isna().all()
    assert rows["comm_bytes"].dtype == "Int64"
    assert rows["seed"].dtype == "int64"


def test_a_run_by_itself_and_what_is_not_recorded(tmp_path):
    run = make_run(tmp_path, [0.5], clients=None, head=None)
    rows = load_results(str(run))
    assert rows["run"].tolist() == ["run"]
    assert rows["num-supernodes"].isna().all()
    assert rows["auxiliary_parameters"].isna().all()


def test_a_key_that_one_run_lacks_keeps_the_others_type(tmp_path):
    older = make_run(tmp_path, [0.5], run_name="older")
    make_run(tmp_path, [0.5], run_name="newer")
    config = json.loads((older / "config.json").read_text(encoding="utf-8"))
    del config["align.interval"]
    (older / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert load_results(tmp_path)["align.interval"].tolist() == [2, None]


def test_runs_that_did_not_end_well_are_there(tmp_path):
    make_run(tmp_path, [0.5], run_name="a", completed=False, status="running")
    failed = RunDirectory(tmp_path / "b")
    with pytest.raises(OSError, match="disk"), failed.record_failure():
        raise OSError("disk")
    rows = load_results(tmp_path)
    assert rows["completed"].tolist() == [False, False]
    assert rows["status"].tolist() == ["OSError: disk", "running"]
    assert rows["round"].tolist() == [0, 1]
    assert rows["test_accuracy"].isna().tolist() == [True, False]


def test_half_a_line_of_a_run_that_goes_on_is_no_round(tmp_path):
    run = make_run(tmp_path, [0.5, 0.6], completed=False, status="running")
    history = run / "history.csv"
    history.write_text(history.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    assert load_results(tmp_path)["round"].tolist() == [1]


def test_half_a_line_of_a_completed_run_is_an_error(tmp_path):
    history = make_run(tmp_path, [0.5, 0.6]) / "history.csv"
    history.write_text(history.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    with pytest.raises(ResultsError, match=r"history.csv: its last line is cut off"):
        load_results(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace("0.5", "half"), "line 2: test_accuracy = 'half': a number"),
        (lambda text: text + "1,2\n", "line 3: 2 values in 35 columns"),
        (lambda text: "a,b\n1,2\n", "not a history: its header has no comm_bytes, round"),
    ],
)
def test_a_broken_history_is_one_line(tmp_path, change, says):
    history = make_run(tmp_path, [0.5]) / "history.csv"
    history.write_text(change(history.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ResultsError, match=says) as error:
        load_results(tmp_path)
    assert str(history) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe"])
@pytest.mark.parametrize("name", ["config.json", "summary.json", "federation.json"])
def test_broken_json_is_one_line(tmp_path, name, content):
    (make_run(tmp_path, [0.5]) / name).write_bytes(content)
    with pytest.raises(ResultsError, match=name):
        load_results(tmp_path)


def test_a_directory_without_runs_is_refused(tmp_path):
    with pytest.raises(ResultsError, match="no run is under it"):
        load_results(tmp_path)
    with pytest.raises(ResultsError, match="is not a directory"):
        load_results(tmp_path / "nowhere")


def test_columns_can_be_added_to_runs_with_many_keys_without_a_warning(tmp_path):
    """Pandas warns of a column that is added to more than 100 blocks."""
    run = RunDirectory(make_run(tmp_path, [0.5, 0.6]))
    config = json.loads((run.path / "config.json").read_text(encoding="utf-8"))
    run.write_config({**config, **{f"own.key-{k}": k / 2 for k in range(100)}})
    results = load_results(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.PerformanceWarning)
        assert results.assign(one=1.0)["own.key-3"].tolist() == [1.5, 1.5]
        compare(results, mean_of=1)
