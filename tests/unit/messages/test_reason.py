"""The cause of a client's error is what is told of it."""

from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import Error
from flwr.clientapp.client_app import ClientAppException

from fsl_sage_flwr.messages import reply as replies
from fsl_sage_flwr.messages.reason import LONGEST_REASON, reason_of
from fsl_sage_flwr.messages.records import BadReplyError

DEEP = "".join(f'  File "/somewhere/{n}.py", line {n}, in call\n    call(n)\n' for n in range(60))


def in_a_simulation(error: Exception) -> str:
    """Return what the ServerApp of a simulation gets, made as Flower and Ray make it."""
    name, text = type(error).__name__, str(error)
    wrapped = ClientAppException(text)
    head = "\x1b[36mray::ClientAppActor.run()\x1b[39m (pid=7, ip=192.0.2.1)\n"
    first = f"{name}: {text}" if text else name
    traceback = (
        f"{head}{DEEP}{first}\n\nThe above exception was the direct cause of the following "
        f"exception:\n\n{head}{DEEP}"
        f"flwr.clientapp.client_app.ClientAppException: {wrapped}"
    )
    from ray.exceptions import RayTaskError  # here, because Ray takes a second to import

    raised = RayTaskError("ClientAppActor.run", traceback, wrapped).as_instanceof_cause()
    return f"{type(raised)}:<'{raised}'>"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("data-path = '/x': no such directory"),
         "ValueError: data-path = '/x': no such directory"),
        (KeyError("label"), "KeyError: 'label'"),
        (StopIteration(), "StopIteration"),
        (RuntimeError("two\nlines\n\n  of it"), "RuntimeError: two lines of it"),
        (RuntimeError("Message: and: Error: in it\nOSError: no"),
         "RuntimeError: Message: and: Error: in it OSError: no"),
    ],
)  # fmt: skip
def test_it_is_the_clients_own_exception(error: Exception, told: str) -> None:
    wrapped = in_a_simulation(error)
    assert len(wrapped) > 3_000
    assert reason_of(wrapped) == told
    deployed = f"{type(error)}:<'{error}'>"
    assert reason_of(deployed) == told


def test_an_app_that_cannot_be_loaded_says_why() -> None:
    said = (
        f"<class 'ray.exceptions.RayTaskError(LoadClientAppError)'>:<'ray::ClientAppActor.run()\n"
        f"{DEEP}flwr.clientapp.client_app.LoadClientAppError: no module named 'mine''>"
    )
    assert reason_of(said) == "LoadClientAppError: no module named 'mine'"


@pytest.mark.parametrize("text", ["the client broke", "", "<class 'x", "Message unavailable."])
def test_other_words_stay(text: str) -> None:
    assert reason_of(text) == text


def test_nothing_long_and_nothing_that_moves_a_cursor_reaches_the_log() -> None:
    told = reason_of("\x1b[2J" + "long " * 1000)
    assert len(told) <= LONGEST_REASON + 2
    assert told.isprintable()


def test_a_reply_tells_it() -> None:
    error = Error(2, in_a_simulation(ValueError("no images")))
    answer: Any = SimpleNamespace(has_error=lambda: True, error=error)
    with pytest.raises(BadReplyError, match=r"^error 2: ValueError: no images$"):
        replies.content_of(answer, 1000)
