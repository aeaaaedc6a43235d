"""Replace the clock by one that moves only during a wait."""

import time

import pytest


@pytest.fixture
def still_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let time pass in ``time.sleep`` alone, and at once.

    A timeout then ends for a client that is silent and for no other, on every machine.
    """
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    for clock in ("monotonic", "perf_counter"):
        monkeypatch.setattr(time, clock, lambda: now)
