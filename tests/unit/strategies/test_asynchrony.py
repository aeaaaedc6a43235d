"""Replies that are merged in a later round: by hand, byte by byte, and where there are none."""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from flwr.app import ArrayRecord, Message, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fsl_sage_flwr.algorithm_registry import ALGORITHMS
from fsl_sage_flwr.clock.fleet import Fleet
from fsl_sage_flwr.clock.presence import Presence
from fsl_sage_flwr.messages import ReplySchema, TrainReply
from fsl_sage_flwr.messages.reply import count_bytes
from fsl_sage_flwr.objective import regression
from fsl_sage_flwr.rounds.aggregation.averaging import average
from fsl_sage_flwr.rounds.asynchrony.asynchrony import Asynchrony
from fsl_sage_flwr.rounds.asynchrony.generation import SmashedGenerator, generator_of
from fsl_sage_flwr.rounds.grid.inline_grid import InlineGrid
from fsl_sage_flwr.rounds.grid.virtual_time_grid import VirtualTimeGrid
from fsl_sage_flwr.splitting import server_step
from fsl_sage_flwr.strategies import AsyncOptions, ClientRound, SplitStrategy

from ...memory_grid import MemoryGrid
from ...rows import rows
from ...runs import (
    assert_same,
    cse_fsl,
    fed_avg,
    fsl_sage,
    server_state,
    split_fed_v2,
    train,
)
from ...tasks import CLIENTS, few_batches, small_app, small_task
from .slow_grid import SlowGrid
from .test_contract import CODED, MAY_BE_LATE, STRATEGIES
from .test_virtual_time import DEVICE, LINK, SLOW

Make = Callable[..., SplitStrategy]
# Each algorithm, and what else is kept for a reply that is in flight: a pool, an optimizer of the
# average, a code.
MAKES: dict[str, Make] = {
    name: {**STRATEGIES, **CODED}[name]
    for name in (*MAY_BE_LATE, "cse_fsl, pooled", "cse_fsl, fedadam", "fsl_sage, coded")
}
every_make = rows("make", MAKES.values(), lambda make: make is fsl_sage, ids=MAKES)
BUFFER = 2
ROUNDS = 5


def after(buffer: int = BUFFER, **settings: Any) -> AsyncOptions:
    return AsyncOptions(buffer=buffer, **settings)


@dataclass
class Answer:
    """One message to a client, and its reply."""

    client: int
    kind: str
    asked: RecordDict
    reply: RecordDict
    sent_at: float
    arrives_at: float


class Nodes(VirtualTimeGrid):
    """Nodes on a virtual clock, the last of them slower in all, whose messages a test can read."""

    def __init__(
        self,
        slower: float = 1.0,
        *,
        contexts: Mapping[int, Any] | None = None,
        failing: Iterable[int] = (),
    ) -> None:
        inline = InlineGrid(small_app(train_batches=few_batches), CLIENTS)
        if contexts is not None:
            inline.contexts = dict(contexts)
        link = replace(LINK, latency=LINK.latency * slower)
        own = {SLOW: (replace(DEVICE, factor=slower), link)}
        super().__init__(inline, Fleet(DEVICE, LINK, DEVICE, own=own), Presence())
        self.contexts = inline.contexts
        self.answers: list[Answer] = []
        self.pulled: list[int] = []
        self._failing = set(failing)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        ids = list[str]()
        for message in messages:
            asked = _copy(message.content)
            ids += super().push_messages([message])
            arrival = self._arrivals[ids[-1]]
            client = self._client_of(message.metadata.dst_node_id)
            content = arrival.reply.content if arrival.reply.has_content() else RecordDict()
            self.answers.append(
                Answer(
                    client, message.metadata.message_type, asked, _copy(content), self.now(),
                    arrival.seconds,
                )
            )  # fmt: skip
            if len(self.answers) - 1 in self._failing:
                arrival.reply.content.clear()
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        found = list(super().pull_messages(message_ids))
        self.pulled += [
            sum(count_bytes(r) for r in reply.content.values())
            for reply in found
            if reply.has_content()
        ]
        return found

    @property
    def trained(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.kind.startswith("train")]


def _copy(content: RecordDict) -> RecordDict:
    return RecordDict({name: record.copy() for name, record in content.items()})


@pytest.mark.slow
def test_a_buffer_of_all_clients_is_the_synchronous_run_on_a_virtual_clock_too() -> None:
    """The contract's table has every algorithm."""
    ours, plain = fsl_sage(asynchrony=after(CLIENTS)), fsl_sage()
    nodes, others = Nodes(3.5), Nodes(3.5)
    assert_same(train(ours, nodes, 3), train(plain, others, 3))
    assert_same(server_state(ours), server_state(plain))
    assert ours.ledger.state_dict() == plain.ledger.state_dict()
    assert [replace(row, staleness=None) for row in ours.client_rounds()] == plain.client_rounds()
    assert {row.staleness for row in ours.client_rounds()} == {0}
    assert nodes.now() == others.now()


@pytest.mark.slow
@every_make
def test_two_runs_are_one_and_the_straggler_is_merged_late(make: Make) -> None:
    runs = [make(asynchrony=after()) for _ in range(2)]
    seen: list[dict[int, int | None]] = []

    def each_round(server_round: int, arrays: ArrayRecord) -> None:
        if server_round:
            seen.append({row.client: row.staleness for row in runs[0].client_rounds()})

    nodes = Nodes(3.5)
    first = runs[0].start(nodes, runs[0].initial_arrays(), num_rounds=6, evaluate_fn=each_round)
    assert_same(first.arrays, train(runs[1], Nodes(3.5), 6))
    assert_same(server_state(runs[0]), server_state(runs[1]))
    assert runs[0].last_round.failures == {}
    late = [tau for each in seen for client, tau in each.items() if client == SLOW and tau]
    assert late, seen
    # One message is in flight to a node at a time.
    of_slow = [answer for answer in nodes.answers if answer.client == SLOW]
    for one, following in pairwise(of_slow):
        assert one.arrives_at <= following.sent_at


def completed_by_hand(
    seen: Iterable[tuple[Tensor, int, int]], batch: tuple[tuple[Tensor, ...], Tensor], least: int
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Return a batch and draws from the moments of all samples so far: value, label, weight."""
    ((tensor,), labels), more, more_labels = batch, list[Tensor](), list[Tensor]()
    for label in range(3):
        rows = torch.stack([value.double() for value, of, _ in seen if of == label])
        weights = torch.tensor([float(n) for _, of, n in seen if of == label]).double()
        share = (weights / weights.sum()).reshape(-1, *[1] * (rows.dim() - 1))
        mean = (share * rows).sum(0)
        variance = (share * (rows - mean).square()).sum(0)
        missing = least - int((labels == label).sum())
        if missing > 0:
            noise = torch.randn(missing, *mean.shape, dtype=torch.float64)
            more.append((mean + variance.sqrt() * noise).to(tensor.dtype))
            more_labels.append(torch.full((missing,), label))
    return (torch.cat([tensor, *more]),), torch.cat([labels, *more_labels])


def by_hand(
    strategy: SplitStrategy, nodes: Nodes, options: AsyncOptions, rounds: int, initial: ArrayRecord
) -> tuple[dict[str, Tensor], dict[str, Tensor], list[int]]:
    """Return client half, head and staleness of a run, from its clients' replies alone.

    The server half of a new task is stepped as the run's was.
    """
    task = small_task()
    optimizer = task.optimizer_of_server(task.model.server)
    now = {"arrays": initial.to_torch_state_dict()}
    now["auxiliary"] = dict(strategy_head(strategy))
    trained = {
        "arrays": set(strategy.trained.parameters()),
        "auxiliary": set(strategy.head.parameters),  # type: ignore[attr-defined]
    }
    waiting: list[tuple[Answer, dict[str, dict[str, Tensor]], int, int]] = []
    left, taus, seen = list(nodes.trained), list[int](), list[tuple[Tensor, int, int]]()
    for number in range(rounds):
        busy = {answer.client for answer, *_ in waiting}
        for client in sorted(set(range(CLIENTS)) - busy):
            answer = next(each for each in left if each.client == client)
            left.remove(answer)
            for record, weights in now.items():
                assert_same(answer.asked.array_records[record], weights)
            waiting.append((answer, dict(now), number, number))
        waiting.sort(key=lambda each: each[0].arrives_at)
        taken = sorted(waiting[: options.buffer], key=lambda each: each[0].client)
        waiting = waiting[options.buffer :]
        weights = list[int]()
        merged: dict[str, list[dict[str, Tensor]]] = {record: [] for record in now}
        for answer, start, version, _ in taken:
            tau = number - version
            taus.append(tau)
            schema = ReplySchema(weights=None, smashed=strategy.smashed)
            reply = TrainReply.open(_copy(answer.reply), schema)
            weights.append(reply.num_examples)
            share = options.mixing * options.weight(tau)
            for record, got in (("arrays", reply.client_half), ("auxiliary", reply.auxiliary)):
                assert got is not None
                counts_as = {}
                for name, value in got.items():
                    base = start if options.merge == "update" and name in trained[record] else now
                    x, z = now[record][name], base[record][name]
                    step = x.double() + share * (value.double() - z.double())
                    counts_as[name] = (step if x.is_floating_point() else step.round()).to(x.dtype)
                    if share == 1 and (tau == 0 or options.merge == "model"):
                        counts_as[name] = value
                merged[record].append(counts_as)
            if tau and options.late == "dropped":
                continue
            task.reseed("server", number, answer.client)
            rate = options.weight(tau) if options.late == "weighted" else 1.0
            base_rate = [group["lr"] for group in optimizer.param_groups]
            for group in optimizer.param_groups:
                group["lr"] *= rate
            assert reply.smashed is not None
            for (tensor,), labels in reply.smashed:
                seen += [(x, int(y), version + 1) for x, y in zip(tensor, labels, strict=True)]
            for tensors, labels in reply.smashed:
                if options.generate:
                    batch = tensors, labels
                    tensors, labels = completed_by_hand(seen, batch, options.generate)
                server_step(
                    task.model.server, optimizer, tensors, labels, task.objective, task.autocast
                )
            for group, before in zip(optimizer.param_groups, base_rate, strict=True):
                group["lr"] = before
        now = {record: average(copies, weights) for record, copies in merged.items()}
    return now["arrays"], {**now["auxiliary"], **task.model.server.state_dict()}, taus


def strategy_head(strategy: SplitStrategy) -> Mapping[str, Tensor]:
    found: Mapping[str, Tensor] = strategy.head.weights  # type: ignore[attr-defined]
    return found


@pytest.mark.sample
@pytest.mark.parametrize(
    "options",
    [
        after(),
        after(late="weighted"),
        after(late="dropped", staleness="hinge", decay=10.0, grace=1),
        after(1, merge="model", mixing=0.6),
        after(1, staleness="constant"),
        after(generate=3),
        after(1, generate=9, late="weighted"),
    ],
    ids=["fedbuff", "weighted", "dropped, hinge", "fedasync", "constant", "gas", "gas, weighted"],
)
def test_a_run_is_the_loop_written_by_hand(options: AsyncOptions) -> None:
    strategy, fresh, nodes = cse_fsl(asynchrony=options), cse_fsl(), Nodes(3.5)
    initial = strategy.initial_arrays()
    rounds = 4 * CLIENTS // options.buffer
    arrays = train(strategy, nodes, rounds)
    client_half, rest, taus = by_hand(fresh, nodes, options, rounds, initial)
    assert max(taus) >= 2
    assert_same(arrays, client_half)
    found = {**strategy_head(strategy), **strategy.task.model.server.state_dict()}
    assert_same(found, rest)


@pytest.mark.slow
@every_make
def test_each_byte_is_in_one_row(make: Make) -> None:
    strategy, nodes, counted = make(asynchrony=after()), Nodes(3.5), list[ClientRound]()

    def each_round(server_round: int, arrays: ArrayRecord) -> None:
        if server_round:
            counted.extend(strategy.client_rounds())

    strategy.start(nodes, strategy.initial_arrays(), num_rounds=ROUNDS, evaluate_fn=each_round)
    sent = [sum(count_bytes(r) for r in a.asked.values()) for a in nodes.answers]
    assert strategy.ledger.total == sum(sent) + sum(nodes.pulled)
    described = [a for a in nodes.answers if "describe" in a.kind]
    of_rounds = strategy.ledger.total - sum(
        sum(count_bytes(r) for r in content.values())
        for answer in described
        for content in (answer.asked, answer.reply)
    )
    assert sum(row.down_bytes + row.up_bytes for row in counted) == of_rounds
    assert strategy.take_late_replies() == len(nodes.answers) - len(nodes.pulled)
    # Each request has one row, and so has each reply that was merged.
    assert len([row for row in counted if row.staleness is not None]) >= ROUNDS * BUFFER


@pytest.mark.slow
def test_a_round_has_no_more_replies_than_its_buffer_where_all_arrive_at_once() -> None:
    strategy, numbers = cse_fsl(asynchrony=after(1)), list[list[tuple[int, int | None]]]()

    def each_round(server_round: int, arrays: ArrayRecord) -> None:
        if server_round:
            merged = [row for row in strategy.client_rounds() if row.staleness is not None]
            numbers.append([(row.client, row.staleness) for row in merged])

    def two_alike(*args: Any) -> float:
        return 1.0

    nodes = Nodes()
    nodes._seconds = two_alike  # type: ignore[method-assign]
    strategy.start(nodes, strategy.initial_arrays(), num_rounds=4, evaluate_fn=each_round)
    assert numbers == [[(0, 0)], [(1, 1)], [(2, 2)], [(0, 2)]]


@every_make
def test_a_resumed_run_asks_the_clients_again_whose_replies_were_in_flight(make: Make) -> None:
    """State is that of the checkpoint, and no reply to the run before is merged."""
    before, nodes = make(asynchrony=after()), Nodes(3.5)
    arrays = train(before, nodes, 3)
    assert before.asynchrony is not None
    assert before.asynchrony.busy
    saved = before.state_dict()
    ends = list[tuple[ArrayRecord, dict[str, Any]]]()
    for _ in range(2):
        resumed, again = make(asynchrony=after()), Nodes(3.5)
        resumed.load_state_dict(copy.deepcopy(saved))
        result = resumed.start(again, arrays, num_rounds=2)
        assert result.arrays is not None
        first = {a.client for a in again.trained if a.sent_at == again.trained[0].sent_at}
        assert first == set(range(CLIENTS))
        ends.append((result.arrays, server_state(resumed)))
    assert_same(ends[0], ends[1])


@pytest.mark.slow
def test_a_straggler_that_fails_is_excluded_and_asked_again() -> None:
    """Its first reply of training is empty; the others' rounds are not delayed by it."""
    strategy, failures = cse_fsl(asynchrony=after()), list[dict[int, str]]()

    def each_round(server_round: int, arrays: ArrayRecord) -> None:
        failures.append(dict(strategy.last_round.failures))

    nodes = Nodes(3.5, failing=[2 * CLIENTS - 1])
    strategy.start(nodes, strategy.initial_arrays(), num_rounds=8, evaluate_fn=each_round)
    failed = [number for number, each in enumerate(failures) if SLOW in each]
    assert len(failed) == 1
    assert failed[0] > 1
    assert len([a for a in nodes.trained if a.client == SLOW]) == 2


@pytest.mark.slow
def test_a_reply_that_takes_longer_than_the_round_timeout_is_given_up() -> None:
    strategy = cse_fsl(asynchrony=after(), round_timeout=1.0)
    nodes, failures = Nodes(1e12), list[dict[int, str]]()

    def each_round(server_round: int, arrays: ArrayRecord) -> None:
        failures.append(dict(strategy.last_round.failures))

    strategy.start(
        nodes, strategy.initial_arrays(), num_rounds=12, timeout=1.0, evaluate_fn=each_round
    )
    assert {SLOW: "no reply within 1 s"} in failures


@pytest.mark.slow
def test_a_share_of_clients_is_the_number_that_compute_at_a_time() -> None:
    strategy, nodes = cse_fsl(asynchrony=after(1), fraction_train=0.7), Nodes(3.5)
    train(strategy, nodes, 6)
    for answer in nodes.trained:
        at_once = [
            other for other in nodes.trained if other.sent_at <= answer.sent_at < other.arrives_at
        ]
        assert len(at_once) <= 2  # 0.7 of three


def test_in_a_deployment_a_late_reply_is_merged_by_the_machines_clock() -> None:
    """The last node's reply to the first round comes when three rounds have counted."""
    strategy, nodes = cse_fsl(asynchrony=after()), SlowGrid()
    seen: list[dict[int, int | None]] = []

    def each_round(server_round: int, arrays: ArrayRecord) -> None:
        nodes.slow = server_round < 3
        if server_round:
            merged = [row for row in strategy.client_rounds() if row.staleness is not None]
            seen.append({row.client: row.staleness for row in merged})

    strategy.start(nodes, strategy.initial_arrays(), num_rounds=5, evaluate_fn=each_round)
    assert seen == [{0: 0, 1: 0}, {0: 0, 1: 0}, {0: 0, 1: 0}, {0: 0, SLOW: 3}, {0: 0, 1: 1}]
    asked = [client for kind, client in nodes.types if kind.startswith("train")]
    assert asked == [0, 1, 2, 0, 1, 0, 1, 0, 1, 0, 2]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"fraction_reply": 0.5}, "fraction-reply = 0.5: the buffer ends a round"),
        ({"min_train_nodes": 3}, "min-train-nodes = 3: a round ends after 2 replies"),
    ],
)
def test_settings_that_do_not_fit_a_buffer_are_refused(
    settings: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        cse_fsl(asynchrony=after(), **settings)


def test_algorithms_and_grids_without_late_replies_refuse_a_buffer() -> None:
    with pytest.raises(ValueError, match="SplitFedV2 needs its clients in step"):
        split_fed_v2(asynchrony=after())
    assert split_fed_v2(asynchrony=AsyncOptions()).asynchrony is None
    strategy = cse_fsl(asynchrony=after())
    with pytest.raises(ValueError, match="simulation without a virtual clock"):
        train(strategy, MemoryGrid(small_app(), CLIENTS, simulated=True), 1)
    pooled = cse_fsl(asynchrony=after(late="weighted"), server_pool=True)
    with pytest.raises(ValueError, match=r"async\.late = 'weighted': with server-pool"):
        train(pooled, Nodes(), 1)


def test_an_algorithm_and_its_strategy_say_the_same() -> None:
    able = {name for name, algorithm in ALGORITHMS.items() if algorithm.replies_may_be_late}
    assert able == set(MAY_BE_LATE)
    for name, make in STRATEGIES.items():
        if name in ALGORITHMS:
            assert make().replies_may_be_late == (name in able), name


def test_weights_are_those_of_the_papers() -> None:
    fed_buff, flat = after(), after(staleness="constant")
    hinge = after(staleness="hinge", decay=10.0, grace=4)
    assert [fed_buff.weight(tau) for tau in (0, 3, 8)] == [1.0, 0.5, 1 / 3]
    assert [hinge.weight(tau) for tau in (0, 4, 5, 7)] == [1.0, 1.0, 1 / 11, 1 / 31]
    assert flat.weight(1000) == 1.0


numbers = st.floats(-100, 100, width=32)


@given(x=numbers, y=numbers, z=numbers, tau=st.integers(0, 9), mixing=st.floats(0.01, 1))
def test_a_merged_value_is_between_both_models_and_an_update_is_added(
    x: float, y: float, z: float, tau: int, mixing: float
) -> None:
    """Running statistics stay in between, so that no variance becomes negative."""
    options = after(mixing=mixing)
    late = Asynchrony(options)
    now, trained, start = ({"w": torch.tensor([v]), "var": torch.tensor([v])} for v in (x, y, z))
    busy: Any = type("Busy", (), {"version": 0, "sent": {"client_half": start}})()
    late.keep({7: busy})
    late.begin(tau)
    found = late.merged(7, "client_half", trained, now, {"w"})
    share = mixing * options.weight(tau)
    low, high = sorted((x, y))
    assert low - 1e-4 <= found["var"].item() <= high + 1e-4
    step = y - (z if tau else x)
    assert found["w"].item() == pytest.approx(x + share * step, abs=1e-3)


@given(
    uploads=st.lists(st.lists(st.tuples(numbers, st.integers(0, 2)), min_size=1), min_size=1),
    least=st.integers(0, 12),
)
def test_moments_are_those_of_all_samples_at_once(
    uploads: list[list[tuple[float, int]]], least: int
) -> None:
    """In whatever batches they came; a batch gets what its labels lack, and nothing else."""
    generator = SmashedGenerator(least)
    for round_, upload in enumerate(uploads):
        values = torch.tensor([[value] for value, _ in upload])
        generator.add([((values,), torch.tensor([label for _, label in upload]))], round_)
    state = generator.state_dict()
    for label in range(3):
        seen = [(v, n + 1) for n, up in enumerate(uploads) for v, of in up if of == label]
        assert (str(label) in state) == bool(seen)
        if seen:
            total = sum(n for _, n in seen)
            mean = sum(v * n for v, n in seen) / total
            spread = sum((v - mean) ** 2 * n for v, n in seen) / total
            assert state[str(label)]["weight"] == total
            assert state[str(label)]["means"]["0"].item() == pytest.approx(mean, abs=1e-6)
            assert state[str(label)]["variances"]["0"].item() == pytest.approx(spread, abs=1e-4)
    batch = (torch.zeros(4, 1),), torch.tensor([0, 0, 0, 1])
    (tensor,), labels = generator.completed(*batch)
    assert torch.equal(tensor[:4], batch[0][0])
    known = {int(label) for label in state}
    lacking = {label: max(0, least - have) for label, have in enumerate((3, 1, 0))}
    expected = [label for label in sorted(known) for _ in range(lacking[label])]
    assert labels.tolist() == [0, 0, 0, 1, *expected]
    again = SmashedGenerator(least)
    again.load_state_dict(state)
    assert_same(again.state_dict(), state)


def test_without_a_class_per_sample_nothing_can_be_drawn() -> None:
    changes = {"objective": regression(), "num_classes": None}
    with pytest.raises(ValueError, match=r"async\.generate = 2: each sample needs one class"):
        generator_of(small_task(**changes), after(generate=2))


def test_values_that_are_equal_keep_their_bits_infinite_ones_too() -> None:
    late = Asynchrony(after(mixing=0.5))
    mask, count = torch.tensor([float("-inf"), 1.0]), torch.tensor([5])
    now = {"mask": mask, "count": count}
    trained = {"mask": mask.clone(), "count": torch.tensor([8])}
    found = late.merged(0, "client_half", trained, now, {"mask"})
    assert torch.equal(found["mask"], mask)
    assert torch.equal(found["count"], torch.tensor([6]))  # 6.5, to the even number


@pytest.mark.slow
@pytest.mark.parametrize("make", [cse_fsl, fsl_sage])
def test_all_samples_that_are_stepped_on_are_learned_probes_too(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy, seen = make(asynchrony=after(generate=2)), dict[str, int]()
    step = strategy.server.step  # type: ignore[attr-defined]

    def counted(round_: Any, client: int, batches: Any, **how: Any) -> None:
        purpose = how.get("purpose", "server")
        seen[purpose] = seen.get(purpose, 0) + len(batches.labels)
        step(round_, client, batches, **how)

    monkeypatch.setattr(strategy.server, "step", counted)  # type: ignore[attr-defined]
    train(strategy, Nodes(), 1)
    learned = server_state(strategy)["server"]["generator"].values()
    assert sum(known["weight"] for known in learned) == sum(seen.values())
    assert ("probe" in seen) == (make is fsl_sage)


def test_without_a_server_half_nothing_is_drawn() -> None:
    with pytest.raises(ValueError, match=r"async\.generate = 2: FullModelFedAvg has no server"):
        fed_avg(asynchrony=after(generate=2))
