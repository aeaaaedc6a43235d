import json

import pytest

from fsl_sage_flwr.analysis import ResultsError
from fsl_sage_flwr.analysis.compare import load_pair, result_differences, setting_differences

from ...made_runs import MIB, make_run


def lines(differences):
    return {line.name: (line.first, line.second, line.change) for line in differences}


def compared(first, second, **options):
    options = {"target": None, "mean_of": 1, "budget": None, "count": "measured", **options}
    found, notes = result_differences(*load_pair(first, second), **options)
    return lines(found), notes


def test_settings_that_differ_and_only_where_they_have_an_effect(tmp_path):
    first = make_run(tmp_path, [0.5], seed=1, learning_rate=0.01, align_interval=5, run_name="a")
    second = make_run(tmp_path, [0.5], algorithm="fed_avg", seed=2, clients=8, run_name="b")
    found = lines(setting_differences(*load_pair(first, second)))
    assert found["algorithm"] == ("fsl_sage", "fed_avg", "")
    assert found["seed"] == ("1", "2", "")
    assert found["learning-rate"] == ("0.01", "0.001", "")
    assert found["align.interval"] == ("5", "–", "")
    assert found["num-supernodes"] == ("4", "8", "")
    assert not {"run-name", "batch-size", "alpha"} & set(found)


@pytest.mark.slow
def test_versions_and_machines_that_differ(tmp_path):
    paths = [make_run(tmp_path, [0.5], run_name=name) for name in ("a", "b")]
    assert setting_differences(*load_pair(*paths)) == []
    for path, commit in zip(paths, ("1234567", "89abcde"), strict=True):
        made = {"torch": "2.9.0", "commit": commit, "date": path.name, "command": path.name}
        (path / "provenance.json").write_text(json.dumps(made), encoding="utf-8")
    assert lines(setting_differences(*load_pair(*paths))) == {"commit": ("1234567", "89abcde", "")}
    (paths[1] / "provenance.json").unlink()
    assert lines(setting_differences(*load_pair(*paths)))["torch"] == ("2.9.0", "–", "")
    (paths[1] / "provenance.json").write_text("[", encoding="utf-8")
    with pytest.raises(ResultsError, match=r"provenance.json: not valid JSON"):
        setting_differences(*load_pair(*paths))


def test_figures_with_what_changes_from_one_to_the_other(tmp_path):
    few, many = {"up_smashed_bytes": MIB}, {"up_smashed_bytes": 4 * MIB}
    failed = {"completed": False, "status": "OSError: disk"}
    first = make_run(tmp_path, [0.25, 0.5, 0.75], run_name="a", row=few)
    second = make_run(tmp_path, [0.5, 0.625], run_name="b", mib_a_round=3, row=many, **failed)
    found, notes = compared(first, second, target=0.5)
    assert found["status"] == ("completed", "failed", "")
    assert found["rounds done"] == ("3/3", "2/2", "")
    assert found["final accuracy (%)"] == ("75.00", "62.50", "−12.50")
    assert found["MiB to 50 %"] == ("2.0", "3.0", "× 1.5")
    assert found["MiB in all"] == ("3.0", "6.0", "× 2")
    assert found["MiB up, smashed"] == ("3.0", "8.0", "× 2.67")
    assert "MiB down, gradients" not in found
    assert notes[-1].startswith("budget: 3.0 MiB")


@pytest.mark.slow
def test_a_target_that_one_has_not_reached(tmp_path):
    first = make_run(tmp_path, [0.25], run_name="a")
    second = make_run(tmp_path, [0.5], run_name="b")
    found, _ = compared(first, second, target=0.5)
    assert found["MiB to 50 %"] == ("–", "1.0", "")


def test_a_run_without_a_round_has_no_figures(tmp_path):
    first = make_run(tmp_path, [0.25], run_name="a")
    second = make_run(tmp_path, [], run_name="b", completed=False, status="running")
    found, notes = compared(first, second)
    assert list(found) == ["status", "rounds done"]
    assert notes == (f"no figures: {second} finished no round",)


@pytest.mark.slow
def test_two_runs_of_the_same_name_are_two(tmp_path):
    paths = [make_run(tmp_path / root, [0.5], run_name="same") for root in "ab"]
    first, second = load_pair(*paths)
    assert first.name != second.name
    assert setting_differences(first, second) == []


def test_it_takes_two_different_runs(tmp_path):
    first = make_run(tmp_path, [0.25], run_name="a")
    make_run(tmp_path, [0.25], run_name="b")
    with pytest.raises(ResultsError, match="is compared with itself"):
        load_pair(first, first)
    with pytest.raises(ResultsError, match="2 runs are under it; name the directory of one, such"):
        load_pair(tmp_path, first)
