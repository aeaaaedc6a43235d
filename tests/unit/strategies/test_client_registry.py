"""A node's claim of a client: the first one counts."""

import logging
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import ArrayRecord, Context, Message, RecordDict

from fsl_sage_flwr.messages import DESCRIBE
from fsl_sage_flwr.rounds.clients.client_registry import NodesDisagreeError
from fsl_sage_flwr.strategies import CseFsl, SplitGrid, TrainingFailedError

from ...memory_grid import MemoryGrid, error_instead
from ...runs import cse_fsl
from ...tasks import CLIENTS, small_app
from .slow_grid import SLOW, SlowGrid


class Nodes(MemoryGrid):
    """Nodes that may come, go and come back; each has a key, as on a SuperLink."""

    def __init__(self, count: int = CLIENTS, tamper: Any = None) -> None:
        super().__init__(small_app(), count, tamper=tamper)
        self.keys = {node: b"key %d" % node for node in self.contexts}
        self.since = dict.fromkeys(self.contexts, "morning")
        self._away: dict[int, Context] = {}

    def get_nodes(self) -> Iterable[Any]:
        return [
            SimpleNamespace(node_id=n, public_key=self.keys[n], last_activated_at=self.since[n])
            for n in self.contexts
        ]

    def node(self, client: int) -> int:
        return next(node for node, i in self.partition.items() if i == client)

    def add(self, node: int, client: int, of: int = CLIENTS) -> int:
        first = next(iter(self.contexts.values()))
        config: dict[str, Any] = {"partition-id": client, "num-partitions": of}
        self.partition[node], self.keys[node], self.since[node] = client, b"new %d" % node, "noon"
        self.contexts[node] = Context(first.run_id, node, config, RecordDict(), first.run_config)
        return node

    def take_away(self, node: int) -> None:
        self._away[node] = self.contexts.pop(node)

    def bring_back(self, node: int) -> None:
        self.contexts[node] = self._away.pop(node)
        self.since[node] = "evening"


def run(strategy: CseFsl, nodes: MemoryGrid, *events: Any) -> list[dict[int, int]]:
    """Train a round after each event, and one before; return who ran what in each."""
    found: list[dict[int, int]] = []

    def end_of_round(server_round: int, arrays: ArrayRecord) -> None:
        if server_round:
            found.append(dict(strategy.registry.nodes))
        if 0 < server_round <= len(events) and events[server_round - 1] is not None:
            events[server_round - 1]()

    rounds = len(events) + 1
    strategy.start(nodes, strategy.initial_arrays(), num_rounds=rounds, evaluate_fn=end_of_round)
    return found


@pytest.mark.slow
def test_a_second_node_does_not_take_a_clients_place(caplog: pytest.LogCaptureFixture) -> None:
    nodes = Nodes()
    honest = nodes.node(0)
    found = run(cse_fsl(), nodes, lambda: nodes.add(7, 0), None)
    assert [each[0] for each in found] == [honest] * 3
    asked = [node for node, client in nodes.partition.items() if client == 0]
    assert asked == [honest, 7]
    said = f"node 7 claims partition-id 0, which node {honest} has; it is refused while"
    assert caplog.text.count(said) == 1


@pytest.mark.slow
def test_its_place_is_taken_only_while_it_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    nodes = Nodes()
    honest = nodes.node(0)

    def leave() -> None:
        nodes.add(7, 0)
        nodes.take_away(honest)

    found = run(cse_fsl(), nodes, leave, lambda: nodes.bring_back(honest))
    assert [each[0] for each in found] == [honest, 7, honest]
    assert f"client 0: node 7 replaces node {honest}, which is gone" in caplog.text


@pytest.mark.slow
def test_nobody_takes_the_place_of_a_node_that_owes_an_answer() -> None:
    class Owing(Nodes):
        mute = False

        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            return super().pull_messages(
                key for key in message_ids
                if not (self.mute and self._replies[key].metadata.src_node_id == honest)
            )  # fmt: skip

    nodes = Owing()
    honest = nodes.node(0)

    def claim() -> None:
        nodes.add(7, 0)
        nodes.mute = True

    # Round 2 leaves the mute node out; in round 3 it still owes its answer.
    found = run(cse_fsl(fraction_reply=0.6), nodes, claim, None)
    assert [each.get(0) for each in found] == [honest, honest, None]


@pytest.mark.parametrize(
    ("client", "of", "says"),
    [
        (0, CLIENTS, r"nodes \d+ and 7 both claim partition-id 0: start each SuperNode with a"),
        (1, 9, r"node \d+ says num-partitions 3 and node 7 says 9: start all SuperNodes with"),
    ],
)
def test_nodes_that_contradict_each_other_at_the_start_end_the_run(
    client: int, of: int, says: str
) -> None:
    nodes, strategy = Nodes(), cse_fsl()
    nodes.add(7, client, of)
    with pytest.raises(NodesDisagreeError, match=says) as raised:
        run(strategy, nodes)
    assert "\n" not in str(raised.value)
    assert {kind for kind, _ in nodes.types} == {DESCRIBE}


@pytest.mark.slow
def test_a_node_of_another_federation_is_refused_later(caplog: pytest.LogCaptureFixture) -> None:
    nodes = Nodes()
    found = run(cse_fsl(), nodes, lambda: nodes.add(7, 8, of=9))
    assert set(found[1]) == set(range(CLIENTS))
    assert "node 7 says num-partitions 9, and the run has 3; it is refused" in caplog.text


@pytest.mark.slow
def test_registered_nodes_that_are_busy_are_waited_for() -> None:
    """They work for another run, and answer nothing meanwhile."""

    class Busy(SlowGrid):
        looks = 0

        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            self.looks += 1
            self.slow = self.looks < 8
            return super().pull_messages(message_ids)

    for absence_timeout, clients in ((600.0, CLIENTS), (0.0, CLIENTS - 1)):
        nodes, strategy = Busy(says_who=False), cse_fsl(absence_timeout=absence_timeout)
        strategy.registry.answer_timeout, strategy.registry.registration_timeout = 0.05, 0.0
        assert len(run(strategy, nodes)[0]) == clients
        assert (SLOW in strategy.registry.nodes) == (clients == CLIENTS)


def test_absence_timeout_is_checked() -> None:
    with pytest.raises(ValueError, match=r"absence_timeout = -1\.0: it must be at least 0"):
        cse_fsl(absence_timeout=-1.0)


@pytest.mark.slow
def test_a_run_without_a_trained_round_fails_however_few_rounds() -> None:
    nodes = MemoryGrid(small_app(), 0)
    strategy = cse_fsl(absence_timeout=0.0)
    strategy.registry.registration_timeout = 0.0
    with pytest.raises(TrainingFailedError, match="no round was trained: round 1 failed"):
        strategy.start(nodes, strategy.initial_arrays(), num_rounds=1)
    # One trained round is enough, before a checkpoint or after it.
    trained, other = cse_fsl(), cse_fsl(absence_timeout=0.0)
    result = trained.start(MemoryGrid(small_app(), CLIENTS), trained.initial_arrays(), num_rounds=1)
    other.load_state_dict(trained.state_dict())
    other.registry.registration_timeout = 0.0
    assert result.arrays is not None
    other.start(nodes, result.arrays, num_rounds=1)


@pytest.mark.slow
def test_a_node_that_was_started_again_is_not_paused(caplog: pytest.LogCaptureFixture) -> None:
    broken = True

    def fail(client: int, reply: Message) -> Message:
        trains = reply.metadata.message_type.startswith("train")
        return error_instead(reply) if client == 1 and broken and trains else reply

    nodes = Nodes(tamper=fail)
    strategy = cse_fsl(max_client_failures=1, pause_rounds=9)
    asked: list[list[int]] = []

    def restart() -> None:
        nodes.since[nodes.node(1)] += " and later"

    def restart_repaired() -> None:
        nonlocal broken
        broken = False
        restart()

    def note(event: Any) -> Any:
        def noted() -> None:
            asked.append([c.client for c in strategy.client_rounds()])
            if event:
                event()

        return noted

    run(strategy, nodes, *(note(e) for e in (None, restart, restart_repaired, None, None)))
    # Paused; tried once and paused again at once; repaired.
    assert [1 in each for each in asked] == [True, False, True, True, True]


@pytest.mark.slow
def test_other_code_on_a_node_is_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter(["1.0 aaaaaaaaaaaa", "1.0 bbbbbbbbbbbb", "1.0 bbbbbbbbbbbb"])
    app = iter(["mine 2 cccccccccccc", "mine 3 dddddddddddd", "mine 2 cccccccccccc"])
    monkeypatch.setattr("fsl_sage_flwr.nodes.identity.package_code", lambda: next(found))
    monkeypatch.setattr("fsl_sage_flwr.nodes.identity.app_code", lambda _: next(app))
    here = "fsl_sage_flwr.rounds.clients.client_registry.package_code"
    monkeypatch.setattr(here, lambda: "1.0 aaaaaaaaaaaa")
    with caplog.at_level(logging.WARNING, "flwr.fsl_sage"):
        run(cse_fsl(), Nodes(), None)
    said = [text for text in caplog.messages if "another version" in text]
    assert [text.partition(";")[0] for text in said] == [
        "node 1037 runs another version of the package: '1.0 bbbbbbbbbbbb', and the server runs "
        "'1.0 aaaaaaaaaaaa'",
        "node 1037 runs another version of the app: 'mine 3 dddddddddddd', and node 1000 runs "
        "'mine 2 cccccccccccc'",
    ]


def test_a_description_of_an_earlier_version_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    def without_texts(client: int, reply: Message) -> Message:
        reply.content.pop("about", None)
        return reply

    run(cse_fsl(), Nodes(tamper=without_texts))
    assert caplog.text.count("runs another version of the package: 'an earlier version'") == 1


def test_bytes_of_descriptions_are_those_of_nodes_that_are_asked() -> None:
    nodes, strategy = Nodes(), cse_fsl()
    grid = strategy.wrap_grid(nodes)
    assert isinstance(grid, SplitGrid)
    strategy.registry.refresh(grid, 1)
    assert {about for content in nodes.received for about in content["about"]} == {"package", "app"}
