"""Damage is found before anything is used, and the previous checkpoint resumes the same run."""

import errno
import gc
import logging
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Lock

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fsl_sage_flwr import tensor_store as tensor_files
from fsl_sage_flwr.atomic_files import DiskError
from fsl_sage_flwr.runs.checkpoint import FORMAT, CheckpointError, read_checkpoint
from fsl_sage_flwr.runs.checkpoint_files import names_in, tensors_of
from fsl_sage_flwr.runs.directory import RunDirectory

from ...rows import rows
from ...runs import assert_same
from .trained import fsl_sage, trained

POSITIONS = st.floats(0, 1, exclude_max=True)
quick = settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def flip(file: Path, where: float | None = None, bit: int = 0) -> None:
    """Flip a bit at this part of a file; by default of a checkpoint's pickle, at its beginning."""
    content = bytearray(file.read_bytes())
    content[100 if where is None else int(where * len(content))] ^= 1 << bit
    file.unlink()  # it may be a link to another checkpoint's
    file.write_bytes(content)


def cut_off(file: Path) -> None:
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[:-1])


def one_of_its_own(latest: Path) -> Path:
    """Return a file of tensors that no other checkpoint names."""
    others = names_in(latest.with_name("previous.pt")) | names_in(latest.with_name("best.pt"))
    return tensors_of(latest) / min(names_in(latest) - others)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "a bit of it": flip,
    "cut off": cut_off,
    "empty": lambda latest: latest.write_bytes(b""),
    "a bit of a file that it names": lambda latest: flip(one_of_its_own(latest), 0.9),
    "a file that it names is cut off": lambda latest: cut_off(one_of_its_own(latest)),
    "a file that it names is gone": lambda latest: one_of_its_own(latest).unlink(),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, object]:
    """A run's latest checkpoint, and what its fourth round would have averaged."""
    directory = tmp_path_factory.mktemp("whole")
    trained(fsl_sage, directory, 3)
    on = directory / "on"
    shutil.copytree(directory / "checkpoints", on / "checkpoints")
    expected = trained(fsl_sage, on, 4)
    shutil.rmtree(on)
    gc.collect()
    return directory / "checkpoints" / "latest.pt", expected


@pytest.fixture
def latest(whole: tuple[Path, object], tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    shutil.copytree(whole[0].parent, tmp_path / "run" / "checkpoints")
    return tmp_path / "run" / "checkpoints" / "latest.pt"


@pytest.mark.slow
@rows("damage", list(DAMAGE), lambda damage: damage in ("a bit of it", "cut off"))
def test_the_one_before_goes_on_to_the_same_run(
    latest: Path, whole: tuple[Path, object], damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    DAMAGE[damage](latest)
    with caplog.at_level(logging.WARNING):
        arrays = trained(fsl_sage, latest.parents[1], 4)
    assert_same(arrays, whole[1])
    (said,) = (
        r.getMessage() for r in caplog.records if "resuming from the previous" in r.getMessage()
    )
    assert f"resume = '{latest}'" in said
    assert f"the previous checkpoint {latest.with_name('previous.pt')}, after round 2" in said
    # Two rounds later both are whole, and of those rounds.
    assert len(read_checkpoint(latest)["history"]) == 4
    assert len(read_checkpoint(latest.with_name("previous.pt"))["history"]) == 3


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
def test_the_one_before_is_read(latest: Path, damage: str) -> None:
    DAMAGE[damage](latest)
    before = latest.with_name("previous.pt")
    assert read_checkpoint(latest)["file"] == before
    assert_same(read_checkpoint(latest)["strategy"], read_checkpoint(before)["strategy"])


@pytest.mark.slow
def test_a_damaged_one_never_takes_the_place_of_the_one_before(latest: Path) -> None:
    flip(latest)
    before = latest.with_name("previous.pt").read_bytes()
    run = RunDirectory(latest.parents[1])
    saved = read_checkpoint(latest)
    run.checkpoints.resume_from(saved["file"])
    run.checkpoints.write(
        run.checkpoints.latest, {key: saved[key] for key in saved if key != "file"}
    )
    assert run.checkpoints.previous.read_bytes() == before
    assert read_checkpoint(run.checkpoints.latest)["file"] == run.checkpoints.latest


@pytest.mark.slow
def test_a_run_that_begins_anew_does_not_keep_another_runs_checkpoint(latest: Path) -> None:
    saved = read_checkpoint(latest)
    state = {key: saved[key] for key in saved if key != "file"}
    run = RunDirectory(latest.parents[1])
    run.checkpoints.resume_from(None)
    run.checkpoints.write(run.checkpoints.latest, state)
    assert not run.checkpoints.previous.exists()
    run.checkpoints.write(run.checkpoints.latest, state)
    assert read_checkpoint(run.checkpoints.previous)["file"] == run.checkpoints.previous


@pytest.mark.slow
def test_if_none_is_whole_one_line_says_so_and_names_one_that_is(latest: Path) -> None:
    flip(latest)
    flip(latest.with_name("previous.pt"))
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(latest)
    assert re.search(r"the checksum of \S+/data.pkl does not match", str(caught.value))
    assert f"give another, e.g. {latest.with_name('best.pt')}" in str(caught.value)
    flip(latest.with_name("best.pt"))
    for name in ("latest", "previous", "best"):
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint(latest.with_name(f"{name}.pt"))
        assert str(caught.value).endswith("give another")
        assert "\n" not in str(caught.value)


@pytest.mark.slow
@given(where=POSITIONS, bit=st.integers(0, 7), which=st.integers(0, 99))
@quick
def test_each_flipped_bit_of_a_checkpoint_or_its_files_is_found_or_harmless(
    whole: tuple[Path, object], where: float, bit: int, which: int
) -> None:
    """Harmless are bits of the zip archive's padding and dates."""
    alone = whole[0].with_name("best.pt")  # no other stands in for it
    files = [alone, *(tensors_of(alone) / name for name in sorted(names_in(alone)))]
    file = files[which % len(files)]
    content, before = file.read_bytes(), torch.load(alone, weights_only=True)
    try:
        flip(file, where, bit)
        try:
            read_checkpoint(alone)
        except CheckpointError as error:
            lines = str(error).splitlines()
        else:
            lines = []
        assert len(lines) <= 1
        if not lines:
            assert file == alone
            assert_same(torch.load(alone, weights_only=True), before)
    finally:
        file.unlink()
        file.write_bytes(content)


def test_only_new_files_are_read_for_their_checksums(
    latest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = read_checkpoint(latest)
    read: list[str] = []
    real = tensor_files.checksum_of

    def counted(path: Path) -> str:
        read.append(path.name)
        return real(path)

    monkeypatch.setattr(tensor_files, "checksum_of", counted)
    run = RunDirectory(latest.parents[1])
    run.checkpoints.resume_from(latest)
    new = run.checkpoints.tensors.write({"a": saved["client_half"][min(saved["client_half"])]})
    state = {key: saved[key] for key in saved if key != "file"}
    for _ in range(2):
        run.checkpoints.write(
            run.checkpoints.latest, {**state, "strategy": {**state["strategy"], "new": new}}
        )
    assert read == [new.path.name]
    assert state["format"] == FORMAT


@pytest.mark.slow
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS])
@rows("write", [1, 3, 5, 6], lambda write: write == 5)
def test_a_disk_that_refuses_any_write_of_a_round_leaves_a_run_that_goes_on(
    latest: Path,
    whole: tuple[Path, object],
    error: int,
    write: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Refused from its `write`-th call on, the summary too."""
    run, calls, fsync = RunDirectory(latest.parents[1]), 0, os.fsync
    one_at_a_time = Lock()  # several threads write files, and each counts

    def refusing(descriptor: int) -> None:
        nonlocal calls
        with one_at_a_time:
            calls += began()
            refused = calls >= write
        if refused:
            raise OSError(error, os.strerror(error))
        fsync(descriptor)

    def began() -> bool:
        """Return whether the fourth round has been trained."""
        return len(RunDirectory.history_of(run.path).read_text(encoding="utf-8").splitlines()) > 4

    monkeypatch.setattr(os, "fsync", refusing)
    RunDirectory.history_of(run.path).write_text("", encoding="utf-8")
    with pytest.raises(DiskError, match="cannot be written") as caught:
        trained(fsl_sage, run.path, 4)
    assert "\n" not in str(caught.value)
    assert f"the run failed: DiskError: {caught.value}" in caplog.text
    assert "its summary could not be updated" in caplog.text
    monkeypatch.setattr(os, "fsync", fsync)
    assert_same(trained(fsl_sage, run.path, 4), whole[1])
