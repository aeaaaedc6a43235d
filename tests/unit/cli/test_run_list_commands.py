"""``fsl-sage runs``, ``compare`` and ``watch`` as commands."""

import pytest

from fsl_sage_flwr.analysis import watching
from fsl_sage_flwr.cli import main

from ...made_runs import make_run


def test_runs_lists_every_state(tmp_path, capsys):
    make_run(tmp_path, [0.5, 0.75, 0.7], run_name="a", mib_a_round=1000)
    make_run(tmp_path, [0.25], run_name="b", completed=False, status="OSError: disk\nis full")
    make_run(tmp_path, [], run_name="c", completed=False, status="running")
    make_run(tmp_path, [0.5], run_name="d", completed=False, status="KeyboardInterrupt: ")
    assert main(["runs", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    heading, *rows = [line.rsplit(maxsplit=2)[0].split() for line in printed.out.splitlines()]
    assert heading == ["run", "status", "rounds", "accuracy", "(%)", "best"]
    where = "fsl_sage/simple_conv/digits-iid/"
    assert [row[:-1] for row in rows] == [
        [f"{where}a", "completed", "3/3", "70.00", "75.00"],
        [f"{where}b", "failed", "1/1", "25.00", "25.00"],
        [f"{where}c", "running", "0/0", "–", "–"],
        [f"{where}d", "interrupted", "1/1", "50.00", "50.00"],
    ]
    assert rows[0][-1] == "3,000.0"
    assert printed.err == f"{where}b: OSError: disk\n"


def test_runs_that_are_judged_by_different_things_say_so(tmp_path, capsys):
    make_run(tmp_path, [0.5], run_name="a")
    make_run(tmp_path, [0.5], run_name="b", row={"test_accuracy": None, "test_perplexity": 3.25})
    assert main(["runs", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "accuracy 50 %" in printed
    assert "perplexity 3.25" in printed


@pytest.mark.slow
def test_compare_prints_settings_and_results(tmp_path, capsys):
    first = make_run(tmp_path, [0.5, 0.75], run_name="a")
    second = make_run(tmp_path, [0.5, 0.8], run_name="b", learning_rate=0.01)
    words = ["--target", "0.6", "--budget-mib", "1", "--mean-of", "1"]
    assert main(["compare", str(first), str(second), *words]) == 0
    printed = capsys.readouterr()
    assert f"A: {first}\nB: {second}\n" in printed.out
    assert "learning-rate  0.001  0.01" in printed.out
    assert ["MiB", "to", "60", "%", "2.0", "2.0", "×", "1"] in [
        line.split() for line in printed.out.splitlines()
    ]
    assert printed.err == (
        "communication: contents of all messages, without Flower's framing, all clients, since "
        "the run began\n"
    )


@pytest.mark.slow
def test_compare_says_where_no_setting_differs(tmp_path, capsys):
    paths = [str(make_run(tmp_path, [0.5], run_name=name)) for name in "ab"]
    assert main(["compare", *paths]) == 0
    assert "no setting differs" in capsys.readouterr().out
    assert main(["compare", *paths, "--target", "50"]) == 1
    assert capsys.readouterr().err.startswith("fsl-sage: --target 50 is no accuracy between 0 and")


def test_watch_ends_with_the_last_run_or_when_asked(tmp_path, capsys, monkeypatch):
    make_run(tmp_path, [0.5], run_name="a", completed=False, status="OSError: disk")
    assert main(["watch", str(tmp_path)]) == 0
    assert capsys.readouterr().err == "fsl_sage/simple_conv/digits-iid/a: OSError: disk\n"

    def interrupted(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(watching, "watch", interrupted)
    assert main(["watch", str(tmp_path)]) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", ["runs", "watch", "compare"])
def test_a_directory_without_runs_and_a_file_are_one_line(tmp_path, capsys, command):
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.touch()
    folder.mkdir()
    for path, says, status in (
        (tmp_path, "no run is under it", 1),
        (file, "is not a directory", 2),
    ):
        others = [str(folder)] if command == "compare" else []
        assert main([command, str(path), *others]) == status
        error = capsys.readouterr().err
        assert error.startswith(f"fsl-sage: '{path}'")
        assert says in error
        assert error.count("\n") == 1
