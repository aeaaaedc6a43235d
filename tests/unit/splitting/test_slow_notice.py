"""A line for an operation that takes long, at a terminal alone."""

import io
import time

import pytest
import torch
from torch import nn

from fsl_sage_flwr.splitting import split
from fsl_sage_flwr.splitting.slow_notice import SILENT, slow_notice


class Screen(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def screen_at(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> Screen:
    screen = Screen(terminal=terminal)
    monkeypatch.setattr("sys.stderr", screen)
    return screen


@pytest.mark.usefixtures("still_time")
def test_a_line_after_two_seconds_which_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = screen_at(monkeypatch, terminal=True)
    with slow_notice("cutting") as step:
        step()
        time.sleep(SILENT)
        step()
        assert screen.getvalue() == ""
        time.sleep(0.1)
        step()
        step()
        assert screen.getvalue() == "cutting …"
    assert screen.getvalue() == "cutting …\r\x1b[K"


@pytest.mark.usefixtures("still_time")
@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("seconds", [0.0, 3.0])
def test_split_says_what_it_does_if_that_takes_long(
    seconds: float, terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            time.sleep(seconds)
            return super().forward(x)

    screen = screen_at(monkeypatch, terminal=terminal)
    split(nn.Sequential(nn.Linear(4, 4), Slow(4, 4)), "1", torch.randn(3, 4))
    written = "cutting Sequential at '1' and proving the halves …\r\x1b[K"
    assert screen.getvalue() == (written if seconds and terminal else "")
