"""``fsl-sage sweep`` that prints its runs, or what it would do, and starts nothing."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.app.run_path import run_path
from fsl_sage_flwr.cli import main
from fsl_sage_flwr.runs.directory import RunDirectory
from fsl_sage_flwr.simulations.federation import Federation
from fsl_sage_flwr.simulations.settings import resolve
from fsl_sage_flwr.simulations.sweeps import Outcome, combinations, finished, read_sweep
from fsl_sage_flwr.simulations.sweeps.combinations import Combination, identity

from .words import arguments, federation

SWEPT = ["distribution=iid,noniid_dirichlet", "alpha=0.1,1", "seed=1,2", "model=simple_conv"]


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the words of a sweep, in which nothing can start."""

    def start(*arguments: Any) -> None:
        raise AssertionError("a run was started")

    monkeypatch.setattr(sys.modules[Outcome.__module__], "sweep", start)
    return [*SWEPT, f"results-dir={tmp_path / 'it is here'}"]


def runs_of(words: list[str]) -> list[Combination]:
    return combinations(read_sweep(None, words))


def what_counts(config: RunConfig) -> tuple[str, Path, str]:
    """Return what must be the same of a run: the experiment, its directory and its checkpoint."""
    return identity(config), run_path(config), config.resume


def complete(run: Combination, clients: int) -> None:
    directory = RunDirectory(run_path(run.config))
    directory.begin_simulation(Federation(clients).record(), resumed=False)
    directory.write_config(run.config.to_run_config())
    directory.write_summary({"completed": True})


@pytest.mark.slow
def test_each_printed_line_is_a_run_of_the_sweep(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "--print", "--clients", "6", "--cpus-per-client", "2", *words]) == 0
    printed = capsys.readouterr()
    lines = [shlex.split(line) for line in printed.out.splitlines()]
    assert printed.err == ""
    assert {tuple(line[:2]) for line in lines} == {("fsl-sage", "run")}
    configs = [what_counts(resolve(None, arguments(*line[1:])["settings"])) for line in lines]
    assert configs == [what_counts(run.config) for run in runs_of(words)]
    assert len(configs) == 6  # alpha has no effect on two
    assert {federation(*line[2:]) for line in lines} == {Federation(6, 2)}


@pytest.mark.slow
def test_completed_runs_are_not_printed_and_interrupted_ones_resume(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *others = runs_of(words)
    complete(first, 4)
    resumed = replace(second, config=replace(second.config, resume="/a/checkpoint"))
    monkeypatch.setattr(
        finished, "resume_interrupted", lambda run, clients: resumed if run == second else run
    )
    assert main(["sweep", "--print", "--gpus-per-client", "0.5", *words]) == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    given = [arguments(*line[1:]) for line in lines]
    configs = [what_counts(resolve(None, each["settings"])) for each in given]
    assert configs == [what_counts(run.config) for run in (resumed, *others)]
    assert {each["gpus_per_client"] for each in given} == {0.5}
    assert main(["sweep", "--dry-run", *words]) == 0
    states = [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]]
    assert states == ["completed", "resumes", *("starts" for _ in others)]


def test_a_module_is_named_in_each_line(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("FSL_SAGE_IMPORT", "")
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_empty_module.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["sweep", "--print", "--import", "my_empty_module", *words]) == 0
    assert all("--import my_empty_module" in line for line in capsys.readouterr().out.splitlines())


@pytest.mark.slow
def test_a_dry_run_checks_every_run(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "--dry-run", *words]) == 0
    first, engines, *states = capsys.readouterr().out.splitlines()
    assert engines == "engine inline: 6 runs"
    assert first.startswith("6 runs, 0 of them completed before; 1 at a time with ")
    assert states == [f"   starts  {run.label}" for run in runs_of(words)]
    wrong = f"dataset=digits,{tmp_path / 'nowhere'}"
    assert main(["sweep", "--dry-run", *words, wrong]) == 2
    assert "does not exist" in capsys.readouterr().err
