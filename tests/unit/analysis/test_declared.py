"""What tables of results know of algorithms and settings without asking the registries."""

import json
from pathlib import Path

import pytest

from fsl_sage_flwr.algorithms import ALGORITHMS
from fsl_sage_flwr.analysis.comparison import compare
from fsl_sage_flwr.analysis.load_results import UNUSED, load_results, read_runs
from fsl_sage_flwr.analysis.repeat import command_line
from fsl_sage_flwr.config.name_table import own_looks
from fsl_sage_flwr.runs.directory import RunDirectory

from ...made_runs import make_run

# Settings that differ, with and without an effect.
RUNS = (
    {"alpha": 0.1, "distribution": "iid"},
    {"alpha": 1.0, "distribution": "noniid_dirichlet", "optimizer": "sgd", "momentum": 0.5},
    {"algorithm": "fed_avg", "codec.smashed": "q8", "fraction-evaluate": 0.5},
)


def test_labels_and_lines_are_the_registrys_in_its_order() -> None:
    declared = [(name, a.label, a.style) for name, a in ALGORITHMS.items()]
    assert [(name, *look) for name, look in own_looks().items()] == declared


@pytest.mark.slow
def test_recorded_keys_are_those_that_would_be_computed(tmp_path: Path) -> None:
    for name, recorded in (("recorded", True), ("computed", False)):
        for number, settings in enumerate(RUNS):
            make_run(
                tmp_path / name, [0.5], run_name=str(number), recorded=recorded,
                **settings,  # type: ignore[arg-type]
            )  # fmt: skip
    tables = [load_results(tmp_path / name) for name in ("recorded", "computed")]
    assert [table[UNUSED].notna().all() for table in tables] == [True, False]
    found, expected = (compare(table, mean_of=1).settings for table in tables)
    assert found == expected
    assert "distribution" in found
    lines = [
        [command_line(run) for run in read_runs(tmp_path / name)]
        for name in ("recorded", "computed")
    ]
    assert lines[0] == lines[1]


@pytest.mark.slow
def test_recorded_keys_are_taken_where_they_are(tmp_path: Path) -> None:
    for seed, alpha in ((1, 0.1), (2, 0.2)):
        path = make_run(tmp_path, [0.5], seed=seed, alpha=alpha, distribution="noniid_dirichlet")
        RunDirectory(path).write_unused_keys({"alpha": "distribution"})
        assert json.loads(RunDirectory.unused_keys_of(path).read_text(encoding="utf-8"))
    assert compare(load_results(tmp_path), mean_of=1).settings == ("algorithm",)
