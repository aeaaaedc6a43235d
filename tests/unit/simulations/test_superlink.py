"""A SuperLink and its questions, with programs that stand for Flower's."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fsl_sage_flwr.cpus import LIMIT
from fsl_sage_flwr.simulations import superlink
from fsl_sage_flwr.simulations.superlink import FlowerError, SuperLink

LISTENING = f"""#!{sys.executable} -S
import os, socket, sys, time
with open("environment", "wb") as file:
    file.write(b"\\0".join(b"=".join(item) for item in os.environb.items()))
print("it listens", flush=True)
server = socket.create_server(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])))
time.sleep(60)
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(superlink, "_program", lambda name: str(tmp_path / name))
    _write(tmp_path / "flower-superlink", LISTENING)
    return tmp_path


@pytest.fixture
def running(programs: Path) -> Iterator[SuperLink]:
    (programs / "run.log").write_text("of before\n", encoding="utf-8")
    with SuperLink(programs / "home", programs, programs / "run.log", 1, 3) as found:
        yield found


def _write(program: Path, text: str) -> None:
    program.write_text(text, encoding="utf-8")
    program.chmod(0o755)


def answers(programs: Path, text: str, *, code: int = 0) -> None:
    _write(programs / "flwr", f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {code}\n")


@pytest.mark.slow
def test_its_processes_are_not_proxied_and_know_their_cpus(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:3128")
    monkeypatch.setenv("no_proxy", "a.example")
    with SuperLink(programs / "home", programs, programs / "run.log", 1, 3):
        pass
    items = (programs / "environment").read_bytes().split(b"\0")
    found = dict(os.fsdecode(item).split("=", 1) for item in items)
    assert found["http_proxy"] == "http://192.0.2.1:3128"
    assert found["no_proxy"] == found["NO_PROXY"] == "a.example,127.0.0.1,localhost"
    assert found[LIMIT] == "3"
    assert found["PYTHONIOENCODING"].startswith("utf-8")


@pytest.mark.slow
def test_what_it_says_is_added_to_the_log(running: SuperLink) -> None:
    assert running.log.read_text(encoding="utf-8") == "of before\nit listens\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Traceback (most recent call last): …", 1),
        ("", 1),
        ('{"success": false, "error-message": "check your network connection"}', 1),
        ('{"success": true, "runs": []}', 0),
    ],
)
def test_a_question_without_an_answer_says_nothing_about_the_run(
    running: SuperLink, programs: Path, text: str, code: int
) -> None:
    answers(programs, text, code=code)
    assert running.status(7) == "unknown"
    answers(programs, '{"success": true, "runs": [{"status": "finished:failed"}]}')
    assert running.status(7) == "finished:failed"


@pytest.mark.slow
def test_neither_does_one_that_hangs_or_cannot_be_asked(
    running: SuperLink, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(superlink, "STATUS_TIMEOUT", 0.05)
    _write(programs / "flwr", "#!/bin/sh\nexec sleep 60\n")
    assert running.status(7) == "unknown"
    (programs / "flwr").unlink()
    assert running.status(7) == "unknown"


@pytest.mark.slow
def test_flowers_log_of_a_failed_run_is_kept(running: SuperLink, programs: Path) -> None:
    answers(programs, "validate_socket_filename failed …")
    running.keep_log_of(7)
    kept = running.log.read_text(encoding="utf-8")
    assert kept.startswith("of before\nit listens\n")
    assert kept.endswith("log of the run:\nvalidate_socket_filename failed …\n")
    (programs / "flwr").unlink()
    running.keep_log_of(7)
    assert running.log.read_text(encoding="utf-8") == kept


@pytest.mark.slow
def test_one_that_is_gone_has_ended_the_run(running: SuperLink) -> None:
    assert running._process is not None
    running._process.kill()
    running._process.wait()
    assert running.status(7).startswith("finished:failed (flower-superlink is gone")


def test_one_that_does_not_start_says_why(programs: Path) -> None:
    _write(programs / "flower-superlink", "#!/bin/sh\necho no such thing\nexit 3\n")
    log = programs / "run.log"
    log.write_text("of before\n", encoding="utf-8")
    with (
        pytest.raises(FlowerError, match=r"^flower-superlink did not start:\nno such thing\n$"),
        SuperLink(programs / "home", programs, log, 1, 1),
    ):
        pass
