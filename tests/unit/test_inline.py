"""Both apps in this process: Flower's behaviour, without Flower's runtime."""

import bdb
import io
import pdb
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from fsl_sage_flwr import run_inline
from fsl_sage_flwr.messages.reason import reason_of
from fsl_sage_flwr.nodes.simulated import Simulated
from fsl_sage_flwr.rounds.grid.inline_grid import InlineGrid
from fsl_sage_flwr.rounds.grid.simulation import is_simulation
from fsl_sage_flwr.task import Batch, ClientIdentity

from ..runs import assert_same, fsl_sage, grid, server_state, split_fed_v1, split_fed_v2, train
from ..tasks import CLIENTS, few_batches, small_app


def ask(inline: InlineGrid, kind: str, node: int) -> Message:
    message = inline.new_message(RecordDict({"sent": MetricRecord({"value": 1})}), node, kind, 60.0)
    (reply,) = inline.send_and_receive([message])
    assert reply.metadata.reply_to_message_id == message.metadata.message_id
    return reply


def counting_app() -> ClientApp:
    """Return an app whose nodes count their messages of each category in their state."""
    app = ClientApp()

    def count(message: Message, context: Context) -> Message:
        kind = message.metadata.message_type
        before = context.state.metric_records.get(kind, MetricRecord({"count": 0}))
        context.state[kind] = MetricRecord({"count": int(before["count"]) + 1})  # type: ignore[arg-type]
        message.content["sent"]["value"] = 2  # a node's own copy
        return Message(RecordDict({"state": context.state[kind]}), reply_to=message)

    for category in ("query", "train", "evaluate"):
        getattr(app, category)()(count)
    return app


def test_each_node_keeps_its_context_between_messages_of_all_categories() -> None:
    inline = InlineGrid(counting_app(), 2, run_config={"key": "value"})
    first, second = inline.get_node_ids()
    for kind in ("query", "train", "evaluate"):
        counts = [
            ask(inline, kind, node).content["state"]["count"] for node in (first, first, second)
        ]
        assert counts == [1, 2, 1]
    places = [context.node_config for context in inline.contexts.values()]
    assert places == [{"partition-id": k, "num-partitions": 2} for k in range(2)]
    assert inline.contexts[first].run_config == {"key": "value"}


def test_node_ids_are_the_same_in_every_run_and_run_ids_are_not() -> None:
    one, two = InlineGrid(ClientApp(), 3), InlineGrid(ClientApp(), 3)
    assert one.get_node_ids() == two.get_node_ids() == [1001, 1002, 1003]
    assert one.run.run_id != two.run.run_id


def test_a_node_gets_a_copy_of_the_message() -> None:
    inline = InlineGrid(counting_app(), 1)
    content = RecordDict({"sent": MetricRecord({"value": 1})})
    message = inline.new_message(content, 1001, "train", 60.0)
    list(inline.send_and_receive([message]))
    assert content["sent"]["value"] == 1


def test_one_message_is_answered_at_a_time_when_its_reply_is_pulled() -> None:
    answered = []
    app = ClientApp()

    @app.train()
    def train_(message: Message, context: Context) -> Message:
        answered.append(context.node_id)
        assert threading.current_thread() is threading.main_thread()
        return Message(RecordDict(), reply_to=message)

    inline = InlineGrid(app, 3)
    messages = [inline.new_message(RecordDict(), node, "train", 60.0) for node in inline.contexts]
    ids = list(inline.push_messages(messages))
    assert answered == []
    assert len(list(inline.pull_messages(ids[1:]))) == 1
    assert answered == [1002]
    assert [len(list(inline.pull_messages(ids))) for _ in range(3)] == [1, 1, 0]


def test_an_exception_is_an_error_reply_with_the_text_of_flowers_simulation() -> None:
    def mod(message: Message, context: Context, call_next: Any) -> Message:
        raise ValueError("no images in /data/person.png")

    reply = ask(InlineGrid(small_app(mods=[mod]), 1), "query.describe", 1001)
    assert reply.error.code == 2
    assert reason_of(str(reply.error.reason)) == "ValueError: no images in /data/person.png"


def test_nodes_are_simulated_inside_and_not_outside() -> None:
    simulated, seen = Simulated(), []
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        seen.append(bool(simulated))
        return Message(RecordDict(), reply_to=message)

    inline = InlineGrid(app, 1)
    ask(inline, "query", 1001)
    assert seen == [True]
    assert not simulated
    assert is_simulation(inline)


@pytest.mark.slow
@pytest.mark.parametrize("make", [fsl_sage, split_fed_v1, split_fed_v2])
def test_the_bits_are_those_of_nodes_that_compute_side_by_side(make: Any) -> None:
    ours, theirs = make(), make()
    inline = InlineGrid(small_app(dropout=0.2, train_batches=few_batches), CLIENTS)
    arrays = ours.start(inline, ours.initial_arrays(), num_rounds=2).arrays
    assert_same(arrays, train(theirs, grid(), 2))
    assert_same(server_state(ours), server_state(theirs))
    assert ours.ledger.total == theirs.ledger.total


@pytest.mark.slow
def test_a_run_returns_the_server_apps_context(tmp_path: Path) -> None:
    server = ServerApp()
    threads = torch.get_num_threads()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        assert torch.get_num_threads() == 3
        strategy = fsl_sage()
        result = strategy.start(grid, strategy.initial_arrays(), num_rounds=1)
        assert result.arrays is not None
        context.state["client-half"] = result.arrays

    context = run_inline(server, small_app(), CLIENTS, {"a": 1}, threads=3)
    assert isinstance(context.state["client-half"], ArrayRecord)
    assert context.run_config == {"a": 1}
    assert torch.get_num_threads() == threads


def test_an_exception_of_the_server_app_is_raised() -> None:
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run_inline(server, small_app())


def test_a_breakpoint_stops_in_the_main_thread_and_quitting_it_ends_the_run() -> None:
    prompt = io.StringIO()
    debugger = pdb.Pdb(stdin=io.StringIO("p client.partition_id\nquit\n"), stdout=prompt)
    debugger.use_rawinput = False

    def stopped(client: ClientIdentity, seed: int) -> Iterable[Batch]:
        assert threading.current_thread() is threading.main_thread()
        debugger.set_trace()
        return few_batches(client, seed)

    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        strategy = fsl_sage()
        strategy.start(grid, strategy.initial_arrays(), num_rounds=1)

    with pytest.raises(bdb.BdbQuit):
        run_inline(server, small_app(train_batches=stopped), CLIENTS)
    assert "(Pdb) 0" in prompt.getvalue()
    assert "return few_batches(client, seed)" in prompt.getvalue()


def test_an_interrupt_in_a_client_ends_the_run() -> None:
    def interrupted(client: ClientIdentity, seed: int) -> Iterable[Batch]:
        raise KeyboardInterrupt

    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        strategy = fsl_sage()
        strategy.start(grid, strategy.initial_arrays(), num_rounds=1)

    with pytest.raises(KeyboardInterrupt):
        run_inline(server, small_app(train_batches=interrupted), CLIENTS)


@pytest.mark.parametrize(
    ("name", "values"), [("clients", {"clients": 0}), ("threads", {"threads": 0})]
)
def test_a_number_below_one_is_refused(name: str, values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=rf"{name} = 0: it must be at least 1"):
        run_inline(ServerApp(), ClientApp(), **values)
