"""What a tracker is handed, and what becomes of one that fails."""

import pytest

from fsl_sage_flwr.runs.csv_tables import HISTORY_COLUMNS
from fsl_sage_flwr.runs.trackers import Tracker

ROW = {**dict.fromkeys(HISTORY_COLUMNS), "round": 3, "test_accuracy": 0.5, "comm_bytes": 7}


class Seen:
    run = "seen"

    def __init__(self, fails: str = "") -> None:
        self.calls: list[object] = []
        self._fails = fails

    def log(self, scalars: dict[str, float], step: int) -> None:
        self.calls.append((scalars, step))
        if self._fails == "log":
            raise RuntimeError("the disk is full")

    def close(self, *, completed: bool) -> None:
        self.calls.append(completed)
        if self._fails == "close":
            raise ConnectionResetError("gone")


def test_a_row_is_its_columns_with_a_value_at_its_round() -> None:
    seen = Seen()
    Tracker("seen", seen).log(ROW)
    assert seen.calls == [({"test_accuracy": 0.5, "comm_bytes": 7.0}, 3)]


def test_one_that_fails_is_said_once_and_asked_no_more(caplog: pytest.LogCaptureFixture) -> None:
    seen = Seen("log")
    with Tracker("seen", seen) as tracker:
        tracker.log(ROW)
        tracker.log(ROW)
    assert len(seen.calls) == 1
    (record,) = caplog.records
    assert record.getMessage() == (
        "tracker seen failed and is disabled, the run continues without it: "
        "RuntimeError: the disk is full"
    )


@pytest.mark.parametrize("fails", ["", "close"])
def test_it_is_closed_once(fails: str, caplog: pytest.LogCaptureFixture) -> None:
    seen = Seen(fails)
    with Tracker("seen", seen) as tracker:
        tracker.close(completed=True)
        tracker.log(ROW)
    assert seen.calls == [True]
    assert len(caplog.records) == bool(fails)


@pytest.mark.parametrize("error", [ValueError("no such cut"), KeyboardInterrupt()])
def test_a_run_that_fails_closes_it_as_failed(error: BaseException) -> None:
    seen = Seen()
    with pytest.raises(type(error)), Tracker("seen", seen):
        raise error
    assert seen.calls == [False]


def test_none_does_nothing() -> None:
    with Tracker() as tracker:
        tracker.log(ROW)
