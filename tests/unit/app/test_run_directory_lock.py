"""Who gets a run's directory when several want it: real processes, started together."""

import errno
import json
import multiprocessing
import os
import re
import signal
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from fsl_sage_flwr.app import run_directory_lock as claim
from fsl_sage_flwr.app.config import ConfigError, RunConfig
from fsl_sage_flwr.app.run_directory_lock import CLAIM, lock_for_command, lock_for_training
from fsl_sage_flwr.app.run_path import run_path
from fsl_sage_flwr.runs.directory import RunDirectory
from fsl_sage_flwr.runs.lock import FOLDER

# This process has imported everything: a new one, or a fork server, takes seconds for that.
PROCESSES = multiprocessing.get_context("fork")

EIGHT = 8
Claiming = Callable[[RunConfig], AbstractContextManager[Any]]


def want(claiming: Claiming, config: RunConfig, together: Barrier | None, pipe: Connection) -> None:
    """Claim a directory, print the outcome, and hold it until told to go."""
    if together is not None:
        together.wait(60)
    try:
        with claiming(config) as held:
            pipe.send(str(getattr(held, "path", held)))
            pipe.recv()
    except ConfigError as error:
        pipe.send(f"refused: {error}")


class Wanting:
    """A process that wants a run's directory."""

    def __init__(self, claiming: Claiming, config: RunConfig, together: Barrier | None = None):
        self.pipe, theirs = PROCESSES.Pipe()
        arguments = (claiming, config, together, theirs)
        self.process = PROCESSES.Process(target=want, args=arguments, daemon=True)
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def answer(self) -> str:
        assert self.pipe.poll(60), "no answer"
        return str(self.pipe.recv())

    def end(self) -> None:
        self.pipe.send("go")
        self.process.join(60)


@pytest.fixture
def named(tmp_path: Path) -> RunConfig:
    return RunConfig(results_dir=str(tmp_path), run_name="mine")


def eight(claiming: Claiming, config: RunConfig) -> tuple[list[Wanting], list[str]]:
    together = PROCESSES.Barrier(EIGHT)
    wanting = [Wanting(claiming, config, together) for _ in range(EIGHT)]
    return wanting, [one.answer() for one in wanting]


@pytest.mark.slow
@pytest.mark.parametrize("claiming", [lock_for_command, lock_for_training])
def test_of_eight_runs_of_one_name_one_begins_and_seven_hear_who(
    named: RunConfig, claiming: Claiming
) -> None:
    wanting, answers = eight(claiming, named)
    path = run_path(named)
    (winner,) = (one for one, answer in zip(wanting, answers, strict=True) if answer == str(path))
    line = (
        f"refused: run-name = 'mine': another run is active in {path}: process {winner.pid} on "
        rf"{re.escape(socket.gethostname())}, since \d{{4}}-\d\d-\d\dT\S+; wait for its end, or "
        "choose another run-name"
    )
    refusals = [answer for answer in answers if answer != str(path)]
    assert len(refusals) == EIGHT - 1
    assert all(re.fullmatch(line, refusal) for refusal in refusals), refusals
    winner.end()
    with claiming(named):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("claiming", [lock_for_command, lock_for_training])
def test_eight_runs_without_a_name_have_eight_directories(
    tmp_path: Path, claiming: Claiming
) -> None:
    wanting, answers = eight(claiming, RunConfig(results_dir=str(tmp_path)))
    names = [Path(answer).name for answer in answers]
    assert len(set(names)) == EIGHT
    assert all(re.fullmatch(r"\d{8}-\d{6}-seed200(-\d\d)?", name) for name in names), names
    assert all(Path(answer).is_dir() for answer in answers)
    for one in wanting:
        one.end()


def test_names_of_one_second_stand_in_the_order_in_which_they_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "run_path", lambda config: tmp_path / "20261122-125056-seed200")
    paths = []
    for _ in range(3):
        with lock_for_training(RunConfig()) as path:
            paths.append(path)
    assert paths == sorted(paths)
    assert [path.name[15:] for path in paths] == ["-seed200", "-seed200-02", "-seed200-03"]


@pytest.mark.parametrize("claiming", [lock_for_command, lock_for_training])
def test_the_lock_of_a_dead_process_is_taken_over(named: RunConfig, claiming: Claiming) -> None:
    holder = Wanting(claiming, named)
    assert holder.answer() == str(run_path(named))
    with pytest.raises(ConfigError, match=f"process {holder.pid} on"), claiming(named):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.process.join(60)
    with claiming(named) as held:
        assert getattr(held, "path", held) == run_path(named)


def test_a_directory_is_held_by_the_process_not_by_a_thread(named: RunConfig) -> None:
    """Runs of a sweep are threads of one process."""
    with lock_for_command(named):
        with pytest.raises(ConfigError, match=f"process {os.getpid()} on"):
            lock_for_command(named).__enter__()
        with lock_for_command(replace(named, run_name="other")):
            pass


def test_a_command_lets_its_own_server_app_in_and_no_other(
    named: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lock_for_command(named) as held:
        for token in ("", "somebody-else's"):
            monkeypatch.setenv(CLAIM, token)
            with pytest.raises(ConfigError, match="another run is active"):
                lock_for_training(named).__enter__()
        monkeypatch.setenv(CLAIM, held.environment[CLAIM])
        with lock_for_training(named) as path:
            assert path == held.path
            # Its twin, in a deployment that was started again: the first still trains.
            with pytest.raises(ConfigError, match="another run is active"):
                lock_for_training(named).__enter__()


def test_a_killed_command_leaves_a_server_app_that_holds_the_directory(
    named: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = Wanting(lock_for_command, named)
    command.answer()
    file = run_path(named) / FOLDER / "command.json"
    monkeypatch.setenv(CLAIM, json.loads(file.read_text(encoding="utf-8"))["token"])
    with lock_for_training(named):
        os.kill(command.pid, signal.SIGKILL)
        command.process.join(60)
        with pytest.raises(ConfigError, match=f"process {os.getpid()} on"):
            lock_for_command(named).__enter__()
    with lock_for_command(named):
        pass


@pytest.mark.parametrize("claiming", [lock_for_command, lock_for_training])
def test_a_completed_run_is_refused_and_not_touched(named: RunConfig, claiming: Claiming) -> None:
    run = RunDirectory(run_path(named))
    run.write_summary({"completed": True})
    with pytest.raises(ConfigError, match="holds a completed run already"), claiming(named):
        pass
    assert not (run.path / FOLDER).exists()
    with claiming(replace(named, resume=str(run.checkpoints.latest))):
        pass


def test_a_directory_that_cannot_be_made_is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    config = RunConfig(results_dir=str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"results-dir = .*cannot be created \(Not a directory\)"):
        lock_for_command(config).__enter__()


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def without_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS without its lock daemon, and Lustre mounted without flock."""

    def refuse(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr("fcntl.flock", refuse)


@pytest.mark.usefixtures("without_locks")
def test_a_file_system_without_locks_keeps_runs_apart_too(tmp_path: Path) -> None:
    config = RunConfig(results_dir=str(tmp_path), run_name="mine")
    with lock_for_command(config) as held:
        with pytest.raises(ConfigError, match="another run is active") as caught:
            lock_for_command(config).__enter__()
        assert str(held.path / FOLDER / "command.held") in str(caught.value)
    with lock_for_training(config):
        pass
    assert not list(tmp_path.rglob("*.held"))


@pytest.mark.usefixtures("without_locks")
def test_the_marker_of_a_dead_process_is_taken_over(named: RunConfig) -> None:
    holder = Wanting(lock_for_command, named)
    holder.answer()
    marker = run_path(named) / FOLDER / "command.held"
    os.kill(holder.pid, signal.SIGKILL)
    holder.process.join(60)
    assert marker.is_file()
    with lock_for_command(named):
        assert str(os.getpid()) in marker.read_text(encoding="utf-8").splitlines()
