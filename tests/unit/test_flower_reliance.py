"""Parts of Flower outside its public API that the package relies on: one test for each.

A failing test means that an update of Flower changed one of them. What has no public name in Flower
is imported inside its test. Where each is used:

- ``rounds/grid/simulation.py``, ``runs/provenance.py``: ``Grid.run`` has ``primary_task_type``
  (``flwr-simulation`` for a simulation), ``run_id`` and ``fab_hash``;
- ``nodes/simulated.py``, ``nodes/task_cache.py``: a simulation pickles the ClientApp to its actors,
  a SuperNode imports it;
- ``rounds/grid/split_grid.py``, ``messages/reply.py``: error 0 is the simulation's own, 3 an
  unavailable message, 5 an unavailable node; ``Message.error`` takes a subclass;
- ``messages/reason.py``: the text of an error, ``<class 'X'>:<'text'>``, in a simulation
  ``Exception ClientAppException occurred. Message:``;
- ``messages/outside_a_run.py``, ``rounds/grid/inline_grid.py``: ``Message(content, metadata=…)``;
- ``messages/virtual_client.py``: a message's ``group_id`` reaches the node and its reply unchanged;
- ``rounds/grid/split_grid.py``: a push that the SuperLink refuses returns no id; ``Grid.get_nodes``
  has ``public_key`` and ``last_activated_at``;
- ``nodes/identity.py``: a simulated node has ``partition-id`` and ``num-partitions``;
- ``messages/records.py``, ``compression/codecs/``: an ``Array`` holds numpy's format 1.0 or 2.0
  under ``numpy.ndarray``; one of any other format travels unchanged;
- ``rounds/reply_spool.py``: an ``Array`` subclass without Flower's constructor can be averaged and
  stays in an ``ArrayRecord``;
- ``messages/reply.py``: ``ConfigRecord.count_bytes`` fails on an empty value;
- ``rounds/aggregation/client_clipping.py``, ``messages/records.py``: the wrappers' key
  ``clipping_norm``, the record ``arrays``;
- ``rounds/grid/split_grid.py``, ``rounds/split_strategy.py``: Flower's loop hands the Grid's list
  of replies to ``aggregate_train``; the methods of a ``Strategy``;
- ``runs/log_lines.py``, ``runs/log.py``: the logger ``flwr``, its console handler's ``timestamps``,
  the line ``Initial global evaluation results: %s``;
- ``rounds/early_stop.py``: the argument ``should_stop`` of Flower 1.43
  (``tests/unit/strategies/test_start.py``);
- ``simulations/superlink.py``: words, JSON and environment variables of ``flwr run``, ``flwr list``
  and ``flwr log`` (every test of ``tests/e2e``).
"""

import logging
from pathlib import Path
from queue import Queue
from threading import Event
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Error,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg, Strategy

from fsl_sage_flwr.messages import CLIENT_HALF, VirtualClient, message_outside_a_run
from fsl_sage_flwr.messages.arrays import NUMPY, tensors_of
from fsl_sage_flwr.messages.reason import reason_of
from fsl_sage_flwr.messages.reply import NOT_FROM_CLIENT_APP, count_bytes
from fsl_sage_flwr.nodes.app import build_client_app
from fsl_sage_flwr.rounds import reply_spool
from fsl_sage_flwr.rounds.aggregation.client_clipping import KEY
from fsl_sage_flwr.rounds.grid.simulation import SIMULATION, is_simulation
from fsl_sage_flwr.rounds.grid.split_grid import MESSAGE_UNAVAILABLE, NODE_UNAVAILABLE, SplitGrid
from fsl_sage_flwr.runs.log_lines import FLOWER, NO_EVALUATION_YET
from fsl_sage_flwr.runs.provenance import of_flower_run
from fsl_sage_flwr.strategies import SplitStrategy
from fsl_sage_flwr.tensor_store import TensorStore

from ..memory_grid import MemoryGrid, sent_to_an_actor
from ..runs import cse_fsl
from ..tasks import small_app

HERE = __name__


# Simulation or deployment -------------------------------------------------------------------


def test_a_run_says_what_it_is_and_what_app_it_runs() -> None:
    """``Grid.run`` has ``primary_task_type``, ``run_id`` and ``fab_hash``."""
    from flwr.common.serde import run_from_proto, run_to_proto
    from flwr.supercore.constant import TaskType
    from flwr.supercore.run import Run

    run = Run.create_empty(run_id=7)
    run.fab_hash, run.primary_task_type = "ab", TaskType.SIMULATION
    told = run_from_proto(run_to_proto(run))
    assert told.primary_task_type == SIMULATION
    assert is_simulation(SimpleNamespace(run=told))  # type: ignore[arg-type]
    assert of_flower_run(told) == {"run_id": "7", "app_hash": "ab"}
    told.primary_task_type = TaskType.SERVER_APP
    assert not is_simulation(SimpleNamespace(run=told))  # type: ignore[arg-type]


def test_a_supernode_imports_the_client_app_and_a_simulation_pickles_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark of a simulated node is set by pickling, which Ray does with every message."""
    from flwr.clientapp.utils import get_load_client_app_fn

    (tmp_path / "imported_app.py").write_text(
        f"from {HERE} import app_of_a_test\n\napp = app_of_a_test\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    load = get_load_client_app_fn("imported_app:app", str(tmp_path), False)
    assert load("", "", "") is app_of_a_test
    set_the_ids_of_a_run()
    client = VirtualClient(0, 2).group_id
    for app, is_simulated in ((app_of_a_test, False), (sent_to_an_actor(app_of_a_test), True)):
        message = Message(RecordDict(), 1, "query.describe", group_id=client)
        context = Context(1, 1, {}, RecordDict(), {})
        if is_simulated:
            assert app(message, context).has_content()
        else:
            with pytest.raises(RuntimeError, match="only a simulation's nodes run several"):
                app(message, context)


app_of_a_test: ClientApp = small_app()


@pytest.mark.slow
def test_flower_run_tells_a_simulation_and_its_nodes(tmp_path: Path) -> None:
    """An app of a third party, started by ``flwr run`` alone."""
    from fsl_sage_flwr.cpus import usable_cpus
    from fsl_sage_flwr.simulations.superlink import SuperLink

    app, results = tmp_path / "app", tmp_path / "told.txt"
    app.mkdir()
    (app / "pyproject.toml").write_text(
        '[project]\nname = "told-app"\nversion = "1.0.0"\nlicense = "Apache-2.0"\n'
        '[tool.flwr.app]\npublisher = "told"\nfab-include = ["*.py"]\n'
        '[tool.flwr.app.components]\nserverapp = "told_server:app"\nclientapp = "told_client:app"\n'
        f'[tool.flwr.app.config]\nresults = "{results}"\n',
        encoding="utf-8",
    )
    (app / "told_client.py").write_text(CLIENT, encoding="utf-8")
    (app / "told_server.py").write_text(SERVER, encoding="utf-8")
    config = tmp_path / "config.toml"
    config.write_text("", encoding="utf-8")
    with SuperLink(tmp_path, app, tmp_path / "log", 1, usable_cpus()) as superlink:
        run = superlink.run(app, config, {"num-supernodes": 1, "client-resources-num-cpus": 1})
        wait_for(lambda: superlink.status(run).startswith("finished"))
        log = (tmp_path / "log").read_text(encoding="utf-8")
        assert superlink.status(run).startswith("finished:completed"), log
    assert results.read_text(encoding="utf-8") == "True True"


CLIENT = """
from flwr.app import Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from fsl_sage_flwr.nodes.simulated import Simulated

def app_of(simulated):
    app = ClientApp()

    @app.query()
    def told(message, context):
        told = MetricRecord({"simulated": int(bool(simulated))})
        return Message(RecordDict({"told": told}), reply_to=message)

    return app

app = app_of(Simulated())
"""
SERVER = """
from pathlib import Path
from time import sleep
from flwr.app import Message, RecordDict
from flwr.serverapp import ServerApp
from fsl_sage_flwr.rounds.grid.simulation import is_simulation

app = ServerApp()

@app.main()
def main(grid, context):
    while not (nodes := list(grid.get_node_ids())):
        sleep(0.1)
    (reply,) = grid.send_and_receive([Message(RecordDict(), nodes[0], "query")])
    simulated = bool(reply.content["told"]["simulated"])
    Path(context.run_config["results"]).write_text(f"{is_simulation(grid)} {simulated}")
"""


def wait_for(is_true: Any, seconds: float = 240.0) -> None:
    import time

    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.5)


# Errors -------------------------------------------------------------------------------------


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


# Messages -----------------------------------------------------------------------------------


def test_a_message_can_be_made_with_its_metadata() -> None:
    """Outside of a run Flower has no ids to make one with."""
    made = message_outside_a_run(RecordDict(), 3, "train", 60.0, run_id=5)
    about = made.metadata
    assert (about.run_id, about.dst_node_id, about.message_type, about.ttl) == (5, 3, "train", 60.0)
    assert about.message_id
    assert Message(RecordDict(), reply_to=made).metadata.reply_to_message_id == about.message_id


def test_the_group_of_a_message_reaches_the_node_as_it_was() -> None:
    from flwr.common.serde import message_from_proto, message_to_proto

    set_the_ids_of_a_run()
    group = VirtualClient(3, 10).group_id
    sent = Message(RecordDict(), 1, "train", ttl=60.0, group_id=group)
    arrived = message_from_proto(message_to_proto(sent))
    assert arrived.metadata.group_id == group
    assert Message(RecordDict(), reply_to=arrived).metadata.group_id == group


def set_the_ids_of_a_run() -> None:
    """As Flower's runtime does; without them no message can be made."""
    MemoryGrid(app_of_a_test, 1)


@pytest.mark.slow
def test_a_refused_message_has_no_id_and_keeps_its_own() -> None:
    """``SplitGrid`` pushes again one by one what was refused together."""
    from flwr.superlink.grid import HttpGrid

    class TooLarge(HttpGrid):
        def _try_push_messages(self, run_id: int, messages: Any) -> list[str]:
            answer = httpx.Response(413, request=httpx.Request("POST", "http://127.0.0.1"))
            raise httpx.HTTPStatusError("too large", request=answer.request, response=answer)

    from flwr.supercore.run import Run

    grid = TooLarge(token="token")
    grid.set_run(Run.create_empty(run_id=7))
    set_the_ids_of_a_run()
    message = Message(RecordDict(), 1, "train")
    assert list(grid.push_messages([message])) == []
    assert message.metadata.message_id


def test_a_node_has_a_key_and_the_time_at_which_it_was_let_in() -> None:
    from flwr.proto.node_pb2 import NodeInfo

    node = NodeInfo(node_id=7, public_key=b"key", last_activated_at="2026-01-31T00:00:00")
    grid: Any = SimpleNamespace(get_nodes=lambda: [node], run=None)
    lives = SplitGrid(grid, cse_fsl().ledger, lambda request, reply: None).lives_of_nodes()
    assert lives == {7: (b"key", "2026-01-31T00:00:00")}


def test_a_node_of_a_simulation_knows_its_place() -> None:
    from flwr.common.constant import NUM_PARTITIONS_KEY, PARTITION_ID_KEY

    assert (PARTITION_ID_KEY, NUM_PARTITIONS_KEY) == ("partition-id", "num-partitions")


# Records ------------------------------------------------------------------------------------


def test_an_array_has_numpys_format() -> None:
    """``messages/records.py`` reads the header before it makes room for the values."""
    tensor = torch.arange(6, dtype=torch.float32).view(2, 3)
    record = ArrayRecord({"a": tensor})
    array = record["a"]
    assert (array.stype, array.dtype, tuple(array.shape)) == (NUMPY, "float32", (2, 3))
    assert array.data[:8] == b"\x93NUMPY\x01\x00"
    assert torch.equal(tensors_of(RecordDict({"a": record}), "a")["a"], tensor)


def test_an_array_may_have_any_bytes_and_name_of_its_format() -> None:
    """Coded tensors travel as arrays that Flower does not read."""
    from flwr.app.message.arrayrecord import ArrayRecord as Inflatable

    coded = Array("float32", (2, 3), "fsl-sage.q4", b"\x00\x01")
    copy = Inflatable({"a": coded})["a"]
    assert (copy.stype, copy.data, tuple(copy.shape)) == ("fsl-sage.q4", b"\x00\x01", (2, 3))


def test_flower_averages_arrays_whose_bytes_are_read_when_they_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``SpooledArray`` is an ``Array`` without its constructor; a record keeps it as it is."""
    monkeypatch.setattr(reply_spool, "IN_MEMORY", 0)
    records = [ArrayRecord({"a": torch.full((3,), float(k))}) for k in (1, 2)]
    plain, spooled = ([contents(r) for r in records] for _ in range(2))
    spool = reply_spool.ReplySpool(TensorStore(tmp_path))
    for content in spooled:
        spool.add(content)
    kept = [content.array_records[CLIENT_HALF]["a"] for content in spooled]
    assert all(isinstance(array, reply_spool.SpooledArray) for array in kept)
    averages = [average(each)["a"].numpy() for each in (plain, spooled)]
    assert np.array_equal(*averages)
    spool.close()


def contents(record: ArrayRecord) -> RecordDict:
    metrics = MetricRecord({"num-examples": 1})
    return RecordDict({CLIENT_HALF: record.copy(), "metrics": metrics})


def average(replies: list[RecordDict]) -> ArrayRecord:
    messages = [message_outside_a_run(content, 0, "train", 60.0) for content in replies]
    arrays, _ = FedAvg().aggregate_train(1, messages)
    assert arrays is not None
    return arrays


def test_flowers_count_of_bytes_refuses_an_empty_value() -> None:
    """If it no longer does, ``count_bytes`` of ``messages/reply.py`` can go."""
    empty = ConfigRecord({"text": ""})
    with pytest.raises(ValueError, match="Config values must be either"):
        empty.count_bytes()
    assert count_bytes(empty) == len("text")
    assert count_bytes(ConfigRecord({"n": 1})) == ConfigRecord({"n": 1}).count_bytes()


def test_wrappers_that_clip_on_the_clients_name_the_norm_so() -> None:
    from flwr.supercore.differential_privacy import KEY_CLIPPING_NORM

    assert KEY == KEY_CLIPPING_NORM


def test_flowers_own_name_of_the_weights() -> None:
    """Its wrappers and mods look for that record."""
    assert FedAvg().arrayrecord_key == CLIENT_HALF


# Strategies ---------------------------------------------------------------------------------


def test_the_loop_hands_the_replies_of_the_grid_to_the_strategy(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``let_go_of_replies`` empties its list, and ``app/log_lines.py`` drops a line of its log."""
    replies: list[Message] = []
    seen: list[Any] = []

    class Loop(FedAvg):
        def configure_train(self, *args: Any) -> list[Message]:
            return []

        configure_evaluate = configure_train

        def aggregate_train(self, server_round: int, given: Any) -> tuple[None, None]:
            seen.append(given)
            return None, None

    grid: Any = SimpleNamespace(send_and_receive=lambda messages, timeout: replies)
    monkeypatch.setattr(logging.getLogger(FLOWER), "propagate", True)
    with caplog.at_level(logging.INFO, logger=FLOWER):
        Loop().start(grid, ArrayRecord(), num_rounds=1, evaluate_fn=lambda number, arrays: None)
    assert seen[0] is replies
    assert [r.args for r in caplog.records if r.msg == NO_EVALUATION_YET] == [(None,)]


def test_our_strategies_are_asked_what_flowers_are() -> None:
    asked = {
        name
        for name in vars(Strategy)
        if not name.startswith("_") and callable(vars(Strategy)[name])
    }
    assert asked == {
        "configure_train", "aggregate_train", "configure_evaluate", "aggregate_evaluate",
        "summary", "start",
    }  # fmt: skip
    assert all(callable(getattr(SplitStrategy, name)) for name in asked)


# The log ------------------------------------------------------------------------------------


def test_flower_logs_to_a_console_handler_that_can_show_times() -> None:
    """``app/log_lines.py`` and ``app/run_log.py``."""
    from flwr.supercore.logger import FLOWER_LOGGER

    assert FLOWER_LOGGER is logging.getLogger(FLOWER)
    assert [each for each in FLOWER_LOGGER.handlers if hasattr(each, "timestamps")]


def test_a_client_app_registers_handlers_by_category_and_identifier() -> None:
    app = build_client_app(lambda context: None)  # type: ignore[arg-type, return-value]
    assert {"query.describe", "query.forget", "evaluate.split"} <= set(app._registered_funcs)
