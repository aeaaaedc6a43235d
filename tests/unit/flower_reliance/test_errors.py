"""Errors in place of replies."""

from queue import Queue
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import Context, Error, Message, RecordDict

from fsl_sage_flwr.messages import message_outside_a_run
from fsl_sage_flwr.messages.reason import reason_of
from fsl_sage_flwr.messages.reply import NOT_FROM_CLIENT_APP
from fsl_sage_flwr.rounds.grid.split_grid import MESSAGE_UNAVAILABLE, NODE_UNAVAILABLE


def error_of_the_simulation(raised: Exception) -> Error:
    """Return the error that Flower's simulation makes of what its backend raises."""
    from flwr.server.superlink.fleet.vce.metrics import VceMetrics
    from flwr.server.superlink.fleet.vce.vce_api import worker

    stop, messages, replies = Event(), Queue[Message](), Queue[Message]()

    def fail(message: Message, context: Context) -> None:
        stop.set()
        raise raised

    store = SimpleNamespace(retrieve_context=lambda run_id: None)
    messages.put(message_outside_a_run(RecordDict(), 1, "train", 60.0))
    backend: Any = SimpleNamespace(process_message=fail)
    worker(messages, replies, {1: store}, backend, stop, VceMetrics())  # type: ignore[dict-item]
    return replies.get_nowait().error


@pytest.mark.slow
def test_an_error_of_the_simulation_itself_has_a_code_of_its_own() -> None:
    from flwr.clientapp.client_app import ClientAppException, LoadClientAppError
    from flwr.common.constant import ErrorCode
    from ray.exceptions import ActorDiedError

    codes = {
        kind: error_of_the_simulation(error).code
        for kind, error in {
            "died": ActorDiedError(),
            "raised": ClientAppException("no images"),
            "not loaded": LoadClientAppError("no module"),
        }.items()
    }
    assert codes["died"] == NOT_FROM_CLIENT_APP
    assert NOT_FROM_CLIENT_APP not in (codes["raised"], codes["not loaded"])
    assert (MESSAGE_UNAVAILABLE, NODE_UNAVAILABLE) == (
        ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.NODE_UNAVAILABLE,
    )  # fmt: skip


@pytest.mark.slow
def test_an_errors_text_has_the_exception_of_the_client_app() -> None:
    """``messages/reason.py`` reads it; ``test_reason.py`` has the texts with Ray's traceback."""
    from flwr.clientapp.client_app import ClientAppException

    wrapped = ClientAppException("no images")
    assert str(wrapped).startswith("\nException ClientAppException occurred. Message: ")
    assert reason_of(str(error_of_the_simulation(wrapped).reason)) == "no images"
    own = error_of_the_simulation(ValueError("no images"))
    assert reason_of(str(own.reason)) == "ValueError: no images"


def test_an_error_may_have_a_class_of_its_own_in_a_reply() -> None:
    class OwnError(Error):
        """As ``SimulationError``."""

    asked = message_outside_a_run(RecordDict(), 1, "train", 60.0)
    reply = Message(Error(NOT_FROM_CLIENT_APP, "why"), reply_to=asked)
    reply.error = OwnError(reply.error.code, reply.error.reason)
    assert isinstance(reply.error, OwnError)
    assert reply.error.reason == "why"
