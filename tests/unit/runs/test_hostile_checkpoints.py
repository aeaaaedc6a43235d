"""Any checkpoint file resumes a run or gives one clear error; it never runs code."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fsl_sage_flwr.runs.checkpoint import FORMAT, CheckpointError, read_checkpoint
from fsl_sage_flwr.runs.checkpoint_files import names_in
from fsl_sage_flwr.runs.checksummed_file import write_checksummed
from fsl_sage_flwr.runs.directory import RunDirectory

from .trained import fsl_sage, trained

fuzzed = settings(
    deadline=None, max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip

SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
PARTS = ("format", "config", "strategy", "client_half", "history", "clients")


def refused(file: Path) -> str | None:
    """Return the one line in which a checkpoint is refused, if it is; all else would raise."""
    names_in(file)
    try:
        read_checkpoint(file)
    except CheckpointError as error:
        said = str(error)
    else:
        return None
    assert "\n" not in said
    assert str(file) in said
    return said


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a file beside it, alone."""
    run = RunDirectory(tmp_path_factory.mktemp("made"))
    file = run.checkpoints.tensors.write({"a": torch.arange(5.0)})
    state = {
        "format": FORMAT, "config": {"seed": 1}, "strategy": {"rounds_done": 1, "file": file},
        "client_half": {"w": torch.ones(3, 3)}, "history": [{"round": 1, "test_loss": 0.5}],
        "clients": [],
    }  # fmt: skip
    run.checkpoints.write(run.checkpoints.best, state)
    assert refused(run.checkpoints.best) is None
    return run.checkpoints.best


@pytest.mark.slow
@given(content=st.binary(max_size=200))
@fuzzed
def test_any_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "it.pt").write_bytes(content)
    assert refused(tmp_path / "it.pt")


@pytest.mark.slow
@given(content=VALUES | st.fixed_dictionaries(dict.fromkeys(PARTS, VALUES)))
@fuzzed
def test_whole_files_of_something_else_are_refused(tmp_path: Path, content: Any) -> None:
    write_checksummed(tmp_path / "it.pt", content)
    assert refused(tmp_path / "it.pt")


@pytest.mark.slow
@given(data=st.data())
@fuzzed
def test_what_was_changed_and_given_a_fitting_checksum_is_read_or_refused(
    made: Path, data: st.DataObject
) -> None:
    """Mostly in the instructions of its pickle."""
    with zipfile.ZipFile(made) as archive:
        members = {name: bytearray(archive.read(name)) for name in archive.namelist()}
    pickled = next(name for name in members if name.endswith("/data.pkl"))
    for _ in range(data.draw(st.integers(1, 4))):
        name = data.draw(st.just(pickled) | st.sampled_from(sorted(filter(members.get, members))))
        at = data.draw(st.integers(0, len(members[name]) - 1))
        members[name][at] = data.draw(st.integers(0, 255))
    file = made.with_name("changed.pt")
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, bytes(content))
    refused(file)


class Command:
    """Unpickled as pickles are, it makes a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    write_checksummed(tmp_path / "it.pt", {"strategy": Command(tmp_path / "made")})
    assert "Unpickl" in str(refused(tmp_path / "it.pt"))
    assert not (tmp_path / "made").exists()
    torch.load(tmp_path / "it.pt", weights_only=False)
    assert (tmp_path / "made").exists()  # it would have been


@pytest.mark.parametrize(
    "name", ["../best.pt", "/etc/passwd", "..", "", 7, f"{'a' * 32}.safetensors\n"]
)
def test_a_file_anywhere_else_cannot_be_named(made: Path, name: Any) -> None:
    saved = torch.load(made, weights_only=True)
    saved["strategy"]["file"]["tensor-file"] = name
    write_checksummed(made.with_name("named.pt"), saved)
    assert "is not the name of a tensor file" in str(refused(made.with_name("named.pt")))
    assert names_in(made.with_name("named.pt")) is None


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [{}, {"rounds_done": "x"}, {"rounds_done": 1, "ledger": 3}])
def test_what_does_not_fit_the_strategy_is_one_line(tmp_path: Path, strategy: Any) -> None:
    trained(fsl_sage, tmp_path, 1)
    latest = tmp_path / "checkpoints" / "latest.pt"
    write_checksummed(latest, {**torch.load(latest, weights_only=True), "strategy": strategy})
    with pytest.raises(CheckpointError, match="its content does not fit this run") as caught:
        trained(fsl_sage, tmp_path, 2)
    assert "\n" not in str(caught.value)
