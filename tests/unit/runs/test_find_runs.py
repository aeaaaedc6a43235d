"""The directories of runs are found by their marker, and earlier versions' by their files."""

from pathlib import Path

import pytest

from fsl_sage_flwr.runs.directory import RunDirectory
from fsl_sage_flwr.runs.find_runs import MARKER, is_run, runs_under


def test_a_run_is_found_from_its_first_file_on(tmp_path: Path) -> None:
    names = ["a", "b/inner", "c"]
    for name in names:
        RunDirectory(tmp_path / name).write_summary({"completed": False, "status": "running"})
    assert runs_under(tmp_path) == [tmp_path / name for name in names]
    assert runs_under(tmp_path / "a") == [tmp_path / "a"]
    assert is_run(tmp_path / "a")
    assert not is_run(tmp_path / "b")
    assert not is_run(tmp_path / "missing")
    (tmp_path / "a" / "summary.json").unlink()
    assert is_run(tmp_path / "a")


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"config.json", "summary.json"}, True),
        ({"config.json", "history.csv"}, True),
        ({"federation.json", "summary.json"}, True),
        # Other programs have files of these names.
        ({"summary.json"}, False),
        ({"history.csv", "summary.json"}, False),
        ({"config.json"}, False),
    ],
)
def test_an_earlier_versions_run_has_settings_and_results(
    tmp_path: Path, files: set[str], found: bool
) -> None:
    for file in files:
        (tmp_path / file).write_text("", encoding="utf-8")
    assert is_run(tmp_path) is found
    assert runs_under(tmp_path) == [tmp_path] * found


def test_the_marker_is_written_once(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write_summary({"completed": False})
    (tmp_path / MARKER).write_text("{}", encoding="utf-8")
    run.write_summary({"completed": True})
    assert (tmp_path / MARKER).read_text(encoding="utf-8") == "{}"
