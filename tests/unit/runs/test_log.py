"""The log of a run is in its directory, whatever became of the run."""

import logging
import re
from pathlib import Path

import pytest

from fsl_sage_flwr.atomic_files import DiskError
from fsl_sage_flwr.runs.log import LOG, logged_to

log = logging.getLogger("flwr.fsl_sage")


def test_it_has_what_was_said_inside_and_when(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest's own record of the log travels from its workers as UTF-8, which has no surrogates.
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", False)
    log.warning("before")
    for number in (1, 2):
        with logged_to(tmp_path):
            log.warning("round %d: client 1 is excluded: é \udce9", number)
    log.warning("after")
    lines = (tmp_path / LOG).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    said = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING: round 2: client 1 is excluded: é \\udce9"
    assert re.fullmatch(said, lines[1])


def test_it_has_the_exception_that_ended_the_run(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), logged_to(tmp_path):
        raise KeyboardInterrupt
    kept = (tmp_path / LOG).read_text(encoding="utf-8")
    assert "Traceback" in kept
    assert kept.endswith("KeyboardInterrupt\n")


def test_a_directory_that_takes_none_is_an_error_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(DiskError), logged_to(tmp_path / "nowhere"):
        pass


def test_a_disk_that_is_full_breaks_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / LOG).symlink_to("/dev/full")
    with logged_to(tmp_path):
        log.warning("nobody keeps this")
    assert "Traceback" not in capsys.readouterr().err
