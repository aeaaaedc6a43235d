"""What cannot work is refused in one line before anything is started."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fsl_sage_flwr import image_classification
from fsl_sage_flwr.app.config import ConfigError, RunConfig
from fsl_sage_flwr.app.run_path import run_path
from fsl_sage_flwr.cli import main
from fsl_sage_flwr.cpus import usable_cpus
from fsl_sage_flwr.runs.checkpoint import FORMAT
from fsl_sage_flwr.runs.directory import RunDirectory
from fsl_sage_flwr.simulations.federation import Federation
from fsl_sage_flwr.simulations.preflight import check_run
from fsl_sage_flwr.simulations.resuming import find_run, with_run_settings
from fsl_sage_flwr.simulations.sweeps import combinations, sweep
from fsl_sage_flwr.simulations.sweeps.finished import resume_interrupted

CPUS = usable_cpus()


def config(tmp_path: Path, **changes: Any) -> RunConfig:
    values = {"results-dir": str(tmp_path / "results"), "run-name": "one", **changes}
    return RunConfig.from_run_config(values)


def a_file(tmp_path: Path) -> Path:
    file = tmp_path / "file.csv"
    file.write_text("label\n1\n", encoding="utf-8")
    return file


@pytest.mark.sample
@pytest.mark.parametrize(
    ("changes", "federation", "said"),
    [
        ({"dataset": "/nowhere"}, {}, "'/nowhere' does not exist; give digits"),
        ({"dataset": "FILE"}, {}, "is a file; give digits"),
        (
            {"robust.aggregation": "bulyan", "robust.assumed-malicious": 2},
            {"clients": 10},
            "needs 11 clients in a round: there are 10; give more --clients",
        ),
        ({"cut": "classifer"}, {}, "Did you mean 'classifier'"),
        ({"model": "resnet18", "cut": "layer9"}, {}, "cut 'layer9' is not a submodule"),
        ({"results-dir": "FILE"}, {}, "is a file; name a directory"),
        ({"results-dir": "FILE/deeper"}, {}, "is a file; name a directory"),
        ({"resume": "/nowhere/latest.pt"}, {}, "there is no such checkpoint file"),
        ({"min-train-nodes": 5}, {}, "there are 4 clients; give at most as many"),
        ({}, {"clients": 800}, "1437 training examples are too few for 800 clients"),
        ({}, {"cpus": CPUS + 1}, f"--cpus {CPUS + 1}: there are {CPUS} CPUs; give at most"),
        ({}, {"cpus_per_client": CPUS + 1}, f"--cpus-per-client {CPUS + 1}: there are"),
        ({}, {"gpus": 99}, "--gpus 99: there are"),
        ({"virtual-clients": 4}, {}, "fsl-sage run sets it from --clients (here 4)"),
        ({"results-dir": ""}, {}, "results-dir = '': name a directory"),
        (
            {"task": "causal_lm", "model": "/nowhere", "dataset": "/nowhere", "cut": "layers.1"},
            {}, r"model = '/nowhere': /nowhere/config.json cannot be read",
        ),
    ],
)  # fmt: skip
def test_a_run_that_cannot_work_is_refused(
    changes: dict[str, Any], federation: dict[str, Any], said: str, tmp_path: Path
) -> None:
    file = str(a_file(tmp_path))
    given = {k: v.replace("FILE", file) if isinstance(v, str) else v for k, v in changes.items()}
    with pytest.raises(ConfigError) as caught:
        check_run(config(tmp_path, **given), Federation(**federation))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(("device", "share"), [("cuda:1", 0.0), ("cuda:0", 0.5), ("cuda", 0.5)])
def test_a_client_with_a_share_of_a_gpu_sees_only_that_one(
    device: str, share: float, tmp_path: Path
) -> None:
    given = {"results-dir": str(tmp_path / "results"), "run-name": "one"}
    federation = Federation(gpus_per_client=share)
    check_run(RunConfig.unchecked({**given, "device": device}), federation)
    other = RunConfig.unchecked({**given, "device": "cuda:1"})
    with pytest.raises(ConfigError, match="'cuda:1': a client with a share of a GPU sees only"):
        check_run(other, Federation(gpus_per_client=0.5))


def test_a_run_that_can_work_is_not(tmp_path: Path) -> None:
    check_run(config(tmp_path, cut="classifier"), Federation())
    assert not (tmp_path / "results").exists()


def test_a_wrong_cut_is_refused_before_the_data_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(image_classification, "load_images", lambda *names: pytest.fail("read"))
    with pytest.raises(ConfigError, match="cut 'layer9' is not a submodule"):
        check_run(config(tmp_path, cut="layer9"), Federation())
    assert main(["leakage", "cut=layer9"]) == 2
    assert "cut 'layer9' is not a submodule" in capsys.readouterr().err


def test_a_language_models_cut_must_be_before_one_of_its_blocks(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"n_layer": 3}', encoding="utf-8")
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text("mr,ref\n" + "a,b\n" * 8, encoding="utf-8")
    values = {"task": "causal_lm", "model": str(tmp_path), "dataset": str(tmp_path)}
    check_run(config(tmp_path, cut="h.2", **values), Federation())
    with pytest.raises(ConfigError, match="the model has 3 blocks, so 1 to 2 can be the first"):
        check_run(config(tmp_path, cut="h.3", **values), Federation())
    with pytest.raises(ConfigError, match="8 training examples are too few for 9 clients"):
        check_run(config(tmp_path, cut="h.2", **values), Federation(clients=9))


def checkpoint(path: Path, config: RunConfig, written: dict[str, Any] | None = None) -> Path:
    run = RunDirectory(path)
    run.begin_simulation(Federation(clients=3).options(), resumed=False)
    run.write_config(config.to_run_config())
    state = {
        "format": FORMAT,
        "config": written or config.to_run_config(),
        "history": [{"round": 1}],
        "clients": [],
        "strategy": {},
        "client_half": {"weights": torch.ones(1000)},
    }
    run.checkpoints.write(run.checkpoints.latest, state)
    return run.checkpoints.latest


@pytest.mark.slow
def test_a_checkpoint_is_read_before_anything_starts(tmp_path: Path) -> None:
    own = config(tmp_path)
    file = checkpoint(run_path(own), own)
    going = config(tmp_path, resume=str(file))
    check_run(going, Federation())
    for changes, said in (({"seed": 1}, "seed was 200, now 1"),):
        with pytest.raises(ConfigError, match=said):
            check_run(replace(going, **changes), Federation())
    at_its_end = replace(going, num_server_rounds=1)
    check_run(at_its_end, Federation())  # it has not been completed
    RunDirectory(file.parents[1]).write_summary({"completed": True})
    with pytest.raises(ConfigError, match="has finished 1 rounds already; ask for more"):
        check_run(at_its_end, Federation())
    whole = file.read_bytes()
    for kept in (0, 10, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:kept])
        with pytest.raises(ConfigError, match="the checkpoint is corrupt or truncated"):
            check_run(going, Federation())


def test_more_actors_than_clients_or_cpus_are_not_started() -> None:
    assert Federation(clients=1).ray_cpus() == 1
    assert Federation(clients=1000).ray_cpus() == CPUS
    assert Federation(clients=1, cpus_per_client=2, cpus=2).ray_cpus() == 2
    assert "init-args-num-cpus" not in Federation(clients=1).options()


def test_a_run_is_found_by_its_name_its_directory_and_as_the_last(tmp_path: Path) -> None:
    results = tmp_path / "results"
    paths = {}
    for number, name in enumerate(("one", "two")):
        own = config(tmp_path, **{"run-name": name})
        paths[name] = run_path(own)
        os.utime(checkpoint(paths[name], own), (number, number))
    assert find_run("one", results) == find_run(str(paths["one"]), results) == paths["one"]
    assert find_run("last", results) == paths["two"]
    same = config(tmp_path, algorithm="cse_fsl")
    checkpoint(run_path(same), same)
    for named, said in (
        ("one", "2 runs in .* have this name; give the directory of one"),
        ("three", "there is no run of this name in"),
        ("./three", "no directory of a run"),
    ):
        with pytest.raises(ConfigError, match=said):
            find_run(named, results)
    with pytest.raises(ConfigError, match=r"no unfinished run with a checkpoint in [^;]*$"):
        find_run("last", tmp_path / "nowhere")


def test_the_last_run_is_one_that_has_not_ended(tmp_path: Path) -> None:
    results = tmp_path / "results"
    for number, name in enumerate(("one", "two")):
        own = config(tmp_path, **{"run-name": name})
        os.utime(checkpoint(run_path(own), own), (number, number))
    RunDirectory(run_path(own)).write_summary({"completed": True})
    assert find_run("last", results).name == "one"
    RunDirectory(find_run("one", results)).write_summary({"completed": True})
    with pytest.raises(ConfigError, match=r"no unfinished run .*; for more rounds of a completed"):
        find_run("last", results)
    assert find_run("two", results) == run_path(own)


@pytest.mark.slow
def test_a_named_run_goes_on_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = config(tmp_path, seed=7, **{"num-server-rounds": 5})
    file = checkpoint(run_path(own), own)
    started: list[Any] = []

    def simulate(*given: Any) -> Any:
        started.append(given)
        raise KeyboardInterrupt

    monkeypatch.setattr("fsl_sage_flwr.simulations.run.simulate", simulate)
    where = f"results-dir={tmp_path / 'results'}"
    assert main(["run", where, "resume=last", "num-server-rounds=9"]) == 130
    going, federation, _ = started[0]
    assert going == replace(own, resume=str(file), num_server_rounds=9)
    assert run_path(going) == file.parents[1]
    assert federation.clients == 3
    assert main(["run", where, "resume=one", "--clients", "5"]) == 2
    assert main(["run", where, "resume=one", "seed=8"]) == 2
    assert main(["run", where, "resume=one", "run-name=two"]) == 2
    moved = tmp_path / "moved"
    run_path(own).rename(moved)
    assert main(["run", f"resume={moved}"]) == 2
    assert len(started) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["alpha=0.1"], "alpha changes nothing with distribution = iid; leave it out, or set "
         "distribution to noniid_dirichlet"),
        (["shards-per-client=3"], "set distribution to shards"),
        (["momentum=0.5"], "momentum changes nothing with optimizer = adam; leave it out, or set "
         "optimizer to sgd"),
        (["algorithm=cse_fsl", "align.interval=3"], "align.interval changes nothing with algorithm "
         "= cse_fsl; leave it out, or set algorithm to fsl_sage"),
        (["algorithm=cse_fsl", "auxiliary.init=random"], "set algorithm to fsl_sage"),
        (["auxiliary.head=linear", "auxiliary.init=random"], "set auxiliary.head to auto or"),
        (["language.bleu=true"], "language.bleu changes nothing with task = image_classification; "
         "leave it out, or set task to causal_lm"),
        (["robust.assumed-malicious=2"], "set robust.aggregation to krum or multi_krum or bulyan"),
        (["pause-rounds=2", "max-client-failures=0"], "change max-client-failures"),
        (["--preset", "FILE"], "alpha changes nothing with distribution = iid"),
        (["--preset", "paper", "momentum=0.5"], "momentum changes nothing with optimizer = adam"),
    ],
)  # fmt: skip
def test_a_key_that_changes_nothing_is_refused_with_the_key_it_depends_on(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("alpha = 0.1\n", encoding="utf-8")
    words = [str(file) if word == "FILE" else word for word in words]
    where = f"results-dir={tmp_path / 'results'}"
    for name in ("run", "sweep"):
        assert main([name, *words, where]) == 2
        line = capsys.readouterr().err
        assert said in line.replace(" in any of these runs", "")
        assert line.count("\n") == 1


@pytest.mark.slow
def test_a_word_may_leave_a_presets_own_keys_without_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def simulate(*given: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("fsl_sage_flwr.simulations.run.simulate", simulate)
    words = ["algorithm=fed_avg", "dataset=digits", "batch-size=32"]
    where = f"results-dir={tmp_path / 'results'}"
    assert main(["run", "--preset", "paper", where, *words]) == 130


def test_data_refuses_such_a_key_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "alpha=0.1"]) == 2
    assert "alpha changes nothing with distribution = iid" in capsys.readouterr().err


def test_a_sweep_goes_on_from_its_runs_checkpoints(tmp_path: Path) -> None:
    block = {"seed": [1, 2, 3], "results-dir": str(tmp_path), "num-server-rounds": 2}
    one, two, three = combinations([block])
    file = checkpoint(run_path(one.config), one.config)
    checkpoint(run_path(two.config), two.config).write_text("cut off", encoding="utf-8")
    assert resume_interrupted(one, 3).config.resume == str(file)
    assert resume_interrupted(one, 4) == one
    assert resume_interrupted(two, 3) == two
    assert resume_interrupted(three, 3) == three


def test_a_sweep_is_checked_before_its_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(sys.modules[sweep.__module__], "simulate", lambda *given: started.append(1))
    datasets, where = f"dataset=digits,{tmp_path / 'nowhere'}", f"results-dir={tmp_path / 'r'}"
    assert main(["sweep", "seed=1,2", datasets, where]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"fsl-sage: seed=1 dataset={tmp_path / 'nowhere'}: dataset")
    assert "does not exist" in error
    assert not started


def test_a_run_of_an_earlier_version_is_resumed_with_its_keys_of_today(tmp_path: Path) -> None:
    own = config(tmp_path, **{"max-communication-mib": 80.0, "max-reply-mib": 7.0})
    names = {"max-communication-mib": "comm-threshold-mb", "max-reply-mib": "max-reply-mb"}
    written = {names.get(key, key): value for key, value in own.to_run_config().items()}
    file = checkpoint(run_path(own), own, written)
    RunDirectory(run_path(own)).write_config(written)
    values, _ = with_run_settings({"results-dir": own.results_dir, "resume": "one"})
    going = RunConfig.from_run_config(values)
    assert going == replace(own, resume=str(file))
    check_run(going, Federation(3))
    assert find_run("last", tmp_path) == run_path(own)


def test_a_sweeps_run_that_cannot_work_is_one_that_failed(tmp_path: Path) -> None:
    class Silent:
        def started(self, combination: Any) -> None: ...
        def round_done(self, combination: Any, rows: Any) -> None: ...
        def ended(self, outcome: Any) -> None: ...

    block = {"dataset": "/nowhere", "results-dir": str(tmp_path)}
    (outcome,) = sweep(combinations([block]), [Federation()], Silent())
    assert outcome.failed
    assert "does not exist" in outcome.summary["status"]


def test_a_dry_run_says_what_a_run_would_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"results-dir={tmp_path / 'results'}", "run-name=one", "seed=3"]
    assert main(["run", "--dry-run", "--clients", "3", *words]) == 0
    said = capsys.readouterr().out
    assert "3 clients with 479 to 479 examples" in said
    assert "MiB a round, of 3 clients" in said
    assert f"results: {run_path(config(tmp_path))}" in said.replace("\n", "")
    assert "alpha" not in said  # it has no effect here
    assert not (tmp_path / "results").exists()
