import csv
import json
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from fsl_sage_flwr.app.config import ConfigError, RunConfig
from fsl_sage_flwr.app.run_path import refuse_taken, run_path
from fsl_sage_flwr.byte_columns import BYTE_COLUMNS
from fsl_sage_flwr.runs.csv_tables import CLIENT_COLUMNS, HISTORY_COLUMNS
from fsl_sage_flwr.runs.directory import RunDirectory
from fsl_sage_flwr.strategies import ClientRound


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path / "a" / "run")


def row(number, **values):
    return {**dict.fromkeys(HISTORY_COLUMNS, 0), "round": number, **values}


def rows_of(run):
    with RunDirectory.history_of(run.path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def files_in(run):
    return sorted(str(p.relative_to(run.path)) for p in run.path.rglob("*") if p.is_file())


def test_run_path_names_what_was_run():
    config = RunConfig(results_dir="/r", model="resnet18", dataset="/data/birds/", run_name="first")
    assert run_path(config) == Path("/r/fsl_sage/resnet18/birds-iid/first")


def test_run_path_without_a_name_is_the_time_and_the_seed():
    path = run_path(RunConfig(results_dir="/r", seed=5))
    assert path.parent == Path("/r/fsl_sage/simple_conv/digits-iid")
    assert re.fullmatch(r"\d{8}-\d{6}-seed5", path.name)


def test_run_path_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert run_path(RunConfig(results_dir="out")).is_relative_to(tmp_path / "out")
    assert run_path(RunConfig(results_dir="~/out")).is_relative_to("/home/somebody/out")


def test_the_directory_is_made_and_may_exist(run):
    assert run.checkpoints.latest.parent.is_dir()
    assert run.checkpoints.best.parent.is_dir()
    assert run.checkpoints.latest != run.checkpoints.best
    RunDirectory(run.path)


def test_config_and_summary_are_json(run):
    run.write_config({"seed": 1, "alpha": 0.5})
    run.write_summary({"completed": True})
    assert json.loads((run.path / "config.json").read_text(encoding="utf-8")) == {
        "seed": 1,
        "alpha": 0.5,
    }
    assert json.loads(RunDirectory.summary_of(run.path).read_text(encoding="utf-8")) == {
        "completed": True
    }
    run.write_summary({"completed": False})
    assert json.loads((run.path / "summary.json").read_text(encoding="utf-8")) == {
        "completed": False
    }
    assert files_in(run) == ["config.json", "fsl-sage-run.json", "summary.json"]


def test_history_has_the_columns_of_the_ledger():
    assert set(BYTE_COLUMNS) < set(HISTORY_COLUMNS)
    assert len(set(HISTORY_COLUMNS)) == len(HISTORY_COLUMNS)


def test_history_grows_by_a_row(run):
    run.write_history([], [])
    run.append_history(row(1, test_accuracy=0.5), [])
    after_one = RunDirectory.history_of(run.path).read_bytes()
    run.append_history(row(2, test_accuracy=0.75), [])
    assert RunDirectory.history_of(run.path).read_bytes().startswith(after_one)
    assert [(r["round"], r["test_accuracy"]) for r in rows_of(run)] == [("1", "0.5"), ("2", "0.75")]
    assert list(rows_of(run)[0]) == list(HISTORY_COLUMNS)


def test_a_resumed_history_is_written_whole_and_goes_on(run):
    run.write_history([row(1), row(2), row(3)], [])
    run.write_history([row(1), row(2)], [])
    run.append_history(row(3), [])
    assert [r["round"] for r in rows_of(run)] == ["1", "2", "3"]
    assert files_in(run) == ["clients.csv", "history.csv"]


def test_rows_of_another_version_keep_what_is_theirs_and_ours_is_empty(run):
    theirs = {"round": 1, "test_accuracy": 0.5, "test_loss": 1.5, "once_known": 7}
    client = {"round": 1, "client": 0, "battery": 0.9}
    run.write_history([theirs], [client])
    run.append_history(row(2, test_accuracy=0.75), [dict.fromkeys(CLIENT_COLUMNS, 2)])
    first, second = rows_of(run)
    assert list(first) == [*HISTORY_COLUMNS, "once_known"]
    assert (first["test_accuracy"], first["once_known"]) == ("0.5", "7")
    assert {first[c] for c in HISTORY_COLUMNS if c not in theirs} == {""}
    assert (second["round"], second["test_accuracy"], second["once_known"]) == ("2", "0.75", "")
    with RunDirectory.clients_of(run.path).open(newline="", encoding="utf-8") as file:
        of_first, of_second = csv.DictReader(file)
    assert list(of_first) == [*CLIENT_COLUMNS, "battery"]
    assert (of_first["battery"], of_first["examples"]) == ("0.9", "")
    assert (of_second["battery"], of_second["examples"]) == ("", "2")


def test_the_header_of_the_file_says_where_a_value_stands(run):
    run.write_history([], [])
    RunDirectory.history_of(run.path).write_text(
        "test_loss,round,gone\r\n1.5,1,x\r\n", encoding="utf-8"
    )
    run.append_history({"round": 2, "test_loss": 0.5}, [])
    assert (
        RunDirectory.history_of(run.path).read_text(encoding="utf-8")
        == "test_loss,round,gone\n1.5,1,x\n0.5,2,\n"
    )
    run.append_history({"round": 3, "surprise": 9}, [])
    assert RunDirectory.history_of(run.path).read_text(encoding="utf-8").splitlines() == [
        "test_loss,round,gone,surprise", "1.5,1,x,", "0.5,2,,", ",3,,9",
    ]  # fmt: skip
    assert files_in(run) == ["clients.csv", "history.csv"]


def test_clients_have_a_row_each_round(run):
    client = dict.fromkeys(CLIENT_COLUMNS, 0)
    run.write_history([], [])
    run.append_history(
        row(1), [{**client, "client": 0}, {**client, "client": 3, "failure": "a, b"}]
    )
    with RunDirectory.clients_of(run.path).open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert [(r["client"], r["failure"]) for r in found] == [("0", "0"), ("3", "a, b")]
    names = tuple(f.name for f in fields(ClientRound))
    assert tuple(found[0]) == CLIENT_COLUMNS == names[:-1]
    assert names[-1] == "staleness"  # written where replies may be late


def test_a_simulation_begins_where_an_unfinished_one_was(run):
    run.write_history([row(1)], [])
    run.begin_simulation({"num-supernodes": 4}, resumed=True)
    assert len(rows_of(run)) == 1
    run.begin_simulation({"num-supernodes": 4}, resumed=False)
    assert files_in(run) == ["federation.json", "fsl-sage-run.json", "summary.json"]
    assert json.loads(RunDirectory.federation_of(run.path).read_text(encoding="utf-8")) == {
        "num-supernodes": 4
    }
    assert (
        json.loads(RunDirectory.summary_of(run.path).read_text(encoding="utf-8"))["completed"]
        is False
    )


def test_a_run_is_not_written_over_unless_it_is_resumed(tmp_path):
    config = RunConfig(results_dir=str(tmp_path), run_name="mine")
    refuse_taken(config)
    run = RunDirectory(run_path(config))
    run.write_summary({"completed": False})
    refuse_taken(config)  # interrupted before its first checkpoint: nothing can be resumed
    run.checkpoints.write(run.checkpoints.latest, {"round": 1})
    unfinished = r"run-name = 'mine': .* holds an unfinished run; give resume='.*latest.pt'"
    elsewhere = str(tmp_path / "other" / "checkpoints" / "latest.pt")
    for other in (config, replace(config, resume=elsewhere)):
        with pytest.raises(ConfigError, match=unfinished):
            refuse_taken(other)
    run.write_summary({"completed": True})
    refuse_taken(replace(config, resume=str(run.checkpoints.latest)))
    for other in (config, replace(config, resume=elsewhere)):
        with pytest.raises(ConfigError, match=r"'mine': .* holds a completed run already"):
            refuse_taken(other)


def test_a_checkpoint_is_read_with_weights_only(run):
    run.checkpoints.write(run.checkpoints.latest, {"round": 3, "client": {"w": torch.arange(3)}})
    state = torch.load(run.checkpoints.latest, weights_only=True)
    assert state["round"] == 3
    assert torch.equal(state["client"]["w"], torch.arange(3))


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file(run, monkeypatch, error):
    run.checkpoints.write(run.checkpoints.latest, {"round": 1})
    before = run.checkpoints.latest.read_bytes()

    def half_a_write(state, file):
        file.write(b"half")
        raise error

    monkeypatch.setattr(torch, "save", half_a_write)
    with pytest.raises(type(error)):
        run.checkpoints.write(run.checkpoints.latest, {"round": 2})
    assert run.checkpoints.latest.read_bytes() == before
    assert files_in(run) == ["checkpoints/latest.pt"]


def test_the_old_file_is_whole_until_the_new_one_is(run, monkeypatch):
    run.checkpoints.write(run.checkpoints.latest, {"round": 1})
    save, seen = torch.save, []

    def spy(state, path):
        save(state, path)
        seen.append(torch.load(run.checkpoints.latest, weights_only=True)["round"])

    monkeypatch.setattr(torch, "save", spy)
    run.checkpoints.write(run.checkpoints.latest, {"round": 2})
    assert seen == [1]
    assert torch.load(run.checkpoints.latest, weights_only=True)["round"] == 2


def test_json_that_cannot_be_written_leaves_the_old_file(run):
    run.write_summary({"completed": True})
    with pytest.raises(TypeError):
        run.write_summary({"completed": object()})
    assert json.loads((run.path / "summary.json").read_text(encoding="utf-8")) == {
        "completed": True
    }


def test_models_are_plain_state_dicts_and_one_of_both(run):
    client = {"a.weight": torch.ones(2, requires_grad=True)}
    server = {"b.weight": torch.zeros(3)}
    run.write_models(client, server, {**client, **server})
    assert files_in(run) == ["client_half.pt", "full_model.pt", "server_half.pt"]
    loaded = {
        name: torch.load(run.path / f"{name}.pt", weights_only=True)
        for name in ("client_half", "server_half", "full_model")
    }
    assert [list(state) for state in loaded.values()] == [
        ["a.weight"],
        ["b.weight"],
        ["a.weight", "b.weight"],
    ]
    assert torch.equal(loaded["full_model"]["a.weight"], torch.ones(2))
    assert not loaded["full_model"]["a.weight"].requires_grad


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("no such cut"), "ValueError: no such cut"),
        (KeyboardInterrupt(), "interrupted"),
        (SystemExit(0), "interrupted"),  # what Flower raises after `flwr stop`
        (SystemExit(1), "SystemExit: 1"),
    ],
)
def test_a_failure_leaves_a_summary_and_goes_on(run, error, status, caplog):
    run.write_summary({"completed": False, "status": "running", "rounds": 3})
    with pytest.raises(type(error)), run.record_failure(log_error=True):
        raise error
    summary = json.loads((run.path / "summary.json").read_text(encoding="utf-8"))
    assert summary == {"completed": False, "status": status, "rounds": 3}
    said = "the run is stopped" if status == "interrupted" else f"the run failed: {status}"
    assert said in caplog.text


def test_a_run_that_is_stopped_after_its_end_stays_completed(run):
    run.write_summary({"completed": True, "status": "completed"})
    with pytest.raises(SystemExit), run.record_failure():
        raise SystemExit(0)
    assert RunDirectory.is_completed_at(run.path)


def test_success_leaves_no_summary(run):
    with run.record_failure():
        pass
    assert files_in(run) == []
