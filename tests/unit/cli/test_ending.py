"""How a command ends: by signals, and when its output is closed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fsl_sage_flwr.cli import entry, main, terminal
from fsl_sage_flwr.cli.entry import Parsed
from fsl_sage_flwr.cli.standard_output import OutputClosedError
from fsl_sage_flwr.cli.terminal import Terminal

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in entry.ENDING_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], int]], None]:
    def replace(action: Callable[[], int]) -> None:
        monkeypatch.setattr(entry, "parse", lambda words: Parsed(words[0], action))

    return replace


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("number", entry.ENDING_SIGNALS)
@pytest.mark.parametrize("second", entry.ENDING_SIGNALS)
def test_a_signal_ends_everything_and_a_second_does_not_break_that_off(
    command: Any, number: signal.Signals, second: signal.Signals,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    signal.signal(number, signal.SIG_DFL)
    signal.signal(second, signal.SIG_DFL)
    ended = []

    def action() -> int:
        try:
            send(number)
            return 0
        finally:
            send(second)
            ended.append(True)

    command(action)
    assert main(["runs", "."]) == 130
    assert ended
    assert "interrupted" in capsys.readouterr().err


def test_under_nohup_a_closed_terminal_ends_nothing(command: Any) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def action() -> int:
        send(signal.SIGHUP)
        return 0

    command(action)
    assert main(["runs", "."]) == 0


@pytest.mark.parametrize(("words", "told"), [(["runs", "."], ""), (["run"], "have been ended")])
def test_output_that_nobody_reads_ends_a_command(
    command: Any, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def action() -> int:
        raise OutputClosedError("it is closed")

    command(action)
    assert main(words) == 141
    said = capsys.readouterr().err
    assert told in said if told else not said


def test_a_closed_pipe_is_noticed_and_not_written_to_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forgotten = []
    monkeypatch.setattr(terminal, "forget_output", lambda: forgotten.append(True))
    reading, writing = os.pipe()
    os.close(reading)
    file = os.fdopen(writing, "w", encoding="utf-8")
    console = Terminal(file=file)
    with pytest.raises(OutputClosedError):
        console.print("a line")
    console.print("another")
    assert forgotten == [True]
    monkeypatch.setattr("sys.stderr", file)
    os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())
    file.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "locale"),
    [
        ("print('x')", {}),
        ("print('x' * 2**20)", {}),
        (
            r"print('\u2212\u03b5\U0001f600')",
            {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        ),
    ],
)
def test_no_traceback_is_printed_for_a_closed_pipe_or_a_small_alphabet(
    code: str, locale: dict[str, str]
) -> None:
    program = (
        "import time\nfrom fsl_sage_flwr.cli.standard_output import standard_output\n"
        f"time.sleep(0.2)\nwith standard_output():\n    {code}\n"
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, env={**os.environ, **locale},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert reader.stdout is not None
    assert reader.stderr is not None
    if locale:
        assert reader.stdout.read() == b"\\u2212\\u03b5\\U0001f600\n"
    reader.stdout.close()
    assert reader.stderr.read() == b""
    assert reader.wait(60) == (0 if locale else 141)
    reader.stderr.close()


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--help"], ["keys"], ["list", "models"]])
def test_a_closed_pipe_ends_every_command_alike(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "fsl_sage_flwr", *words], cwd=ROOT, stdout=closed,
            stderr=subprocess.PIPE, check=False, timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (141, b"")
