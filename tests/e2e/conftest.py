"""What end-to-end tests share."""

import sys

import pytest

from .forked_programs import for_simulations


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the processes that a simulation of this process starts, Ray's aside."""
    monkeypatch.setattr(sys, "executable", str(for_simulations() / "python"))
