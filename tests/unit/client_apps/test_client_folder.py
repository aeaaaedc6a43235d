"""Whose files are removed, when, and who may read them."""

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from flwr.app import Context, RecordDict

from fsl_sage_flwr.data import DecodedPartitionCache
from fsl_sage_flwr.messages import FORGET
from fsl_sage_flwr.messages.outside_a_run import message_outside_a_run
from fsl_sage_flwr.nodes import client_folder
from fsl_sage_flwr.nodes.client_folder import (
    CACHE_VARIABLE,
    ClientFolder,
    own_data_folder,
    remove_run,
    shared_folder,
)
from fsl_sage_flwr.nodes.client_state import ClientState
from fsl_sage_flwr.nodes.forget import forget

TENSORS = {"a": torch.arange(3.0)}
LONG_AGO = time.time() - 8 * 24 * 3600


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that others use too."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "named"))
    return tmp_path / "named"


def context(node: int = 5, run: int = 3) -> Context:
    return Context(run_id=run, node_id=node, node_config={}, state=RecordDict(), run_config={})


def keep(node: int = 5, run: int = 3) -> Path:
    """Have a node keep a file; return it."""
    ClientState(context(node, run)).save_file("x", TENSORS)
    return ClientFolder(context(node, run)).path("x.safetensors")


def aged(path: Path) -> Path:
    """Have a file or a folder, and all that is in it, be of last week."""
    for each in [*path.rglob("*"), path]:
        os.utime(each, (LONG_AGO, LONG_AGO), follow_symlinks=False)
    return path


def test_a_new_run_removes_the_files_of_those_that_have_written_none_for_a_week(
    named: Path,
) -> None:
    old, young = keep(run=1), keep(run=2)
    aged(old.parents[1])
    keep(node=6, run=2)  # another node's of a run that is there already
    assert old.exists()
    keep(run=4)
    assert not old.parents[1].exists()
    assert young.exists()


def test_a_run_is_old_when_its_newest_file_is(named: Path) -> None:
    old, young = keep(node=1, run=1), keep(node=2, run=1)
    aged(old.parents[1])
    os.utime(young)
    keep(run=4)
    assert old.exists()


def test_what_others_have_put_there_stays_whatever_it_is_called(named: Path) -> None:
    theirs = [
        named / "run-7" / "client-1" / "x.safetensors",  # beside our folder
        named / "3" / "5" / "x.safetensors",  # as an earlier version named its own
        named / "a" / "b" / "c" / "d.txt",
    ]
    ours = keep(run=1)
    run, folder = ours.parents[1], ours.parents[2]
    theirs += [
        folder / "run-of-mine" / "client-1" / "x.safetensors",
        run / "notes.txt",
        run / "my-client" / "x.safetensors",
        run / "client-5" / "notes.txt",
        run / "client-5" / "folder.safetensors" / "x",
    ]
    for path in theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine", encoding="utf-8")
    outside = named / "elsewhere"
    outside.mkdir()
    (outside / "x.safetensors").write_text("mine", encoding="utf-8")
    (run / "client-9").symlink_to(outside)
    (folder / "run-8").symlink_to(outside)
    aged(named)
    keep(run=4)
    remove_run(1)
    assert not ours.exists()
    for path in (*theirs, outside / "x.safetensors"):
        assert path.read_text(encoding="utf-8") == "mine", path


def test_old_folders_and_links_to_nothing_raise_nothing(named: Path) -> None:
    ours = keep(run=1)
    for place in (named / "a" / "b" / "c", ours.parent / "folder.safetensors"):
        place.mkdir(parents=True)
    (ours.parent / "x.99.part").symlink_to(ours.parent / "gone")
    aged(named)
    keep(run=4)
    assert not ours.exists()


def test_what_cannot_be_looked_at_is_not_removed(
    named: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = keep(run=1)
    aged(old.parents[1])
    lstat = os.lstat

    def failing(path: str) -> os.stat_result:
        if str(path).endswith("x.safetensors"):
            raise OSError("stale handle")
        return lstat(path)

    monkeypatch.setattr(client_folder.os, "lstat", failing)
    keep(run=4)
    assert old.exists()


@pytest.fixture
def open_to_all() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("open_to_all")
def test_only_this_user_may_read_what_is_kept(named: Path) -> None:
    keep()
    parts = shared_folder("parts", 3)
    assert parts is not None
    images = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    DecodedPartitionCache(parts).write(0, 2, images, torch.zeros(1))
    own_data_folder(context())
    found = {path.relative_to(named).parts[1:]: mode(path) for path in named.rglob("*")}
    assert found == {
        (): 0o700,
        ("run-3",): 0o700,
        ("run-3", "client-5"): 0o700,
        ("run-3", "client-5", "x.safetensors"): 0o600,
        ("run-3", "client-5", "own-data"): 0o700,
        ("run-3", "parts"): 0o700,
        ("run-3", "parts", "0-of-2.safetensors"): 0o600,
    }


def test_users_of_one_directory_have_a_folder_each(
    named: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = []
    for user in (1001, 1002):
        monkeypatch.setattr(client_folder.os, "getuid", lambda user=user: user)
        places.append(ClientFolder(context()).path("x").relative_to(named).parts[0])
    assert places == ["fsl-sage-flwr-1001", "fsl-sage-flwr-1002"]


def test_the_folder_of_a_user_who_has_named_none_is_below_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert keep().parents[2] == tmp_path / ".cache" / "fsl-sage-flwr"
    assert shared_folder("parts", 3) is None


def test_a_run_that_ends_has_its_files_removed(named: Path) -> None:
    mine, other, of_another_run = keep(node=5), keep(node=6), keep(node=5, run=4)
    (own_data_folder(context()) / "table.arrow").touch()
    parts = shared_folder("parts", 3)
    assert parts is not None
    images = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    DecodedPartitionCache(parts).write(0, 2, images, torch.zeros(1))
    question = message_outside_a_run(RecordDict(), 5, FORGET, 60.0, run_id=3)
    reply = forget(question, context())
    assert len(reply.content) == 0
    assert not mine.parents[1].exists()
    assert not other.exists()
    assert of_another_run.exists()


def test_own_data_that_are_read_again_are_not_old(named: Path) -> None:
    folder = own_data_folder(context(run=1))
    (folder / "table.arrow").touch()
    aged(folder.parents[1])
    own_data_folder(context(run=1))
    keep(run=4)
    assert (folder / "table.arrow").exists()
