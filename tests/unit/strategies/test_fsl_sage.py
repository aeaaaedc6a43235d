"""What only FSL-SAGE does: probes, heads and their alignment."""

import logging
from collections import Counter

import pytest
import torch
from flwr.app import Message

from fsl_sage_flwr.client_apps.fsl_sage import PROBE, TRAIN, WARM_START
from fsl_sage_flwr.nodes.client_state import ClientState
from fsl_sage_flwr.tensor_store import with_prefix

from ...memory_grid import MemoryGrid, error_instead
from ...runs import assert_same, cse_fsl, fsl_sage, grid, plain, server_state, train
from ...tasks import BATCHES, CLIENTS, numbered_batches, small_batches


def heads_sent(nodes: MemoryGrid) -> list[tuple[str, int, bool]]:
    """Return (message type, client, carries a head) of every message but the descriptions."""
    return [
        (kind, client, "auxiliary" in content)
        for (kind, client), content in zip(nodes.types, nodes.sent, strict=True)
        if not kind.endswith("describe")
    ]


@pytest.mark.slow
def test_probe_first_then_heads_only_when_they_changed() -> None:
    nodes = grid()
    train(fsl_sage(align_interval=2), nodes, 4)
    everyone = range(CLIENTS)
    assert heads_sent(nodes) == [
        *[(PROBE, client, False) for client in everyone],
        *[(TRAIN, client, True) for client in everyone],
        *[(TRAIN, client, False) for client in everyone],
        *[(TRAIN, client, True) for client in everyone],
        *[(TRAIN, client, False) for client in everyone],
    ]


@pytest.mark.slow
def test_first_batch_is_not_uploaded_twice_nor_the_client_half_sent_twice() -> None:
    nodes = grid(batches=small_batches)
    train(fsl_sage(server_update_interval=2), nodes, 2)
    uploads: dict[bool, list[list[int]]] = {}
    for content in nodes.received:
        if "labels" in content:
            sizes = content["labels"]["batch-sizes"].numpy().tolist()  # type: ignore[index]
            uploads.setdefault("arrays" in content, []).append(sizes)
    probes, rounds = uploads[False], uploads[True]
    assert probes == [[6], [6], [6]]
    # Clients 0 and 1 have batches 0 to 4 and upload 0, 2, 4; client 2 has two and uploads 0.
    assert BATCHES == 5
    assert rounds == [[6, 3], [6, 3], [6, 6, 3], [6, 6, 3], [6]]
    carried = [k for (k, _), c in zip(nodes.types, nodes.sent, strict=True) if "arrays" in c]
    assert carried == [PROBE] * CLIENTS + [TRAIN] * CLIENTS


@pytest.mark.slow
def test_only_rounds_with_an_alignment_report_its_quality() -> None:
    strategy = fsl_sage(align_interval=2)
    qualities = []

    def end_of_round(server_round: int, arrays: object) -> None:
        if server_round:
            qualities.append(strategy.last_round.alignment_cosine)

    nodes = grid(batches=numbered_batches)
    strategy.start(nodes, strategy.initial_arrays(), 4, evaluate_fn=end_of_round)
    assert [quality is not None for quality in qualities] == [True, False, True, False]
    assert all(-1 <= quality <= 1 for quality in qualities if quality is not None)


@pytest.mark.slow
def test_client_that_joins_late_is_probed_and_gets_a_head() -> None:
    strategy, nodes = fsl_sage(align_interval=4), grid()
    hidden = {list(nodes.contexts)[-1]}
    nodes.get_node_ids = lambda: [n for n in nodes.contexts if n not in hidden]  # type: ignore[method-assign]
    strategy.registry.registration_timeout = 0.0

    def end_of_round(server_round: int, arrays: object) -> None:
        if server_round == 2:
            hidden.clear()

    strategy.start(nodes, strategy.initial_arrays(), 4, evaluate_fn=end_of_round)
    last = CLIENTS - 1
    of_late = [pair[0] for pair in nodes.types if pair[1] == last]
    assert of_late == ["query.describe", PROBE, TRAIN, TRAIN]
    assert strategy.last_round.clients == CLIENTS


@pytest.mark.slow
def test_node_that_lost_its_state_is_left_out_once_and_gets_its_head_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    strategy, nodes = fsl_sage(align_interval=10), grid()
    node = next(iter(nodes.contexts))
    failures = []

    def end_of_round(server_round: int, arrays: object) -> None:
        failures.append(dict(strategy.last_round.failures))
        if server_round == 2:
            for name in list(nodes.contexts[node].state):
                del nodes.contexts[node].state[name]

    with caplog.at_level(logging.WARNING, logger="flwr.fsl_sage"):
        strategy.start(nodes, strategy.initial_arrays(), 4, evaluate_fn=end_of_round)
    assert list(failures[3]) == [0]
    assert "auxiliary head 1 is gone from this node" in failures[3][0]
    assert failures[4] == {}
    assert "clients [0] had lost their optimizer state; it began afresh" in caplog.text


@pytest.mark.slow
def test_client_whose_probe_fails_is_left_out_and_probed_again() -> None:
    first = True

    def break_first_probe(partition: int, reply: Message) -> Message | None:
        nonlocal first
        if partition == 1 and reply.metadata.message_type == PROBE and first:
            first = False
            del reply.content["labels"]
        return reply

    strategy, nodes = fsl_sage(), grid(tamper=break_first_probe)
    train(strategy, nodes, 2)
    assert [kind for kind, client in nodes.types if client == 1] == [
        "query.describe", PROBE, PROBE, TRAIN,
    ]  # fmt: skip


@pytest.mark.slow
def test_fresh_optimizers_each_round_when_asked() -> None:
    """Without kept state a second round equals one that starts on nodes without any."""
    nodes, fresh = grid(), fsl_sage(keep_optimizer_state=False)
    arrays = train(fresh, nodes, 2)
    assert not any("optimizer" in c.state for c in nodes.contexts.values())

    def without_any(server_round: int, arrays: object) -> None:
        for context in other_nodes.contexts.values():
            had.append("optimizer" in context.state)
            ClientState(context).drop("optimizer")

    had: list[bool] = []
    other_nodes, kept = grid(), fsl_sage()
    other = kept.start(other_nodes, kept.initial_arrays(), 2, evaluate_fn=without_any)
    assert had == [False] * CLIENTS + [True] * 2 * CLIENTS
    assert_same(arrays, other.arrays)
    assert_same(server_state(fresh), server_state(kept))
    with pytest.raises(AssertionError):
        assert_same(arrays, plain(fsl_sage).after(2).arrays)


@pytest.mark.slow
def test_a_warm_start_is_a_round_of_cse_fsl_and_needs_no_probe() -> None:
    nodes = grid()
    strategy, cse = fsl_sage(warm_start=True, align_interval=4), cse_fsl()
    assert_same(train(strategy, nodes, 1), train(cse, grid(), 1))
    assert_same(strategy.state_dict()["server"]["half"], cse.state_dict()["server"]["half"])
    for state in strategy.state_dict()["heads"]["heads"].values():
        assert_same(with_prefix(state["file"], "head."), cse.head.weights)

    nodes = grid()
    train(fsl_sage(warm_start=True, align_interval=4), nodes, 3)
    everyone = range(CLIENTS)
    assert heads_sent(nodes) == [
        *[(WARM_START, client, True) for client in everyone],
        *[(TRAIN, client, True) for client in everyone],
        *[(TRAIN, client, False) for client in everyone],
    ]


@pytest.mark.slow
def test_a_warm_start_that_is_given_up_is_done_again() -> None:
    def broken(partition: int, reply: Message) -> Message:
        if partition != 1 or reply.metadata.message_type != WARM_START or failed:
            return reply
        failed.append(True)
        return error_instead(reply)

    failed: list[bool] = []
    nodes = grid(tamper=broken)
    strategy = fsl_sage(warm_start=True, min_train_nodes=CLIENTS)
    train(strategy, nodes, 3)
    kinds = [kind for kind, client in nodes.types if client == 0 and kind.startswith("train")]
    assert kinds == [WARM_START, WARM_START, TRAIN]


@pytest.mark.slow
def test_a_client_that_was_not_in_the_warm_start_answers_a_probe() -> None:
    strategy, nodes = fsl_sage(warm_start=True, fraction_train=0.7), grid()
    train(strategy, nodes, 4)
    warm = [client for kind, client in nodes.types if kind == WARM_START]
    probed = [client for kind, client in nodes.types if kind == PROBE]
    assert sorted(warm + probed) == list(range(CLIENTS))


@pytest.mark.slow
def test_a_head_that_a_client_lost_comes_again_even_if_the_round_was_given_up() -> None:
    """The client cannot train without it: it must not be asked in vain for ever."""
    nodes = grid()
    strategy = fsl_sage(min_train_nodes=CLIENTS, align_interval=10)
    arrays = train(strategy, nodes, 1)
    next(iter(nodes.contexts.values())).state.pop("auxiliary")
    train(strategy, nodes, 2, arrays)
    assert strategy.last_round.clients == CLIENTS


@pytest.mark.slow
def test_as_many_groups_as_clients_are_heads_of_their_own() -> None:
    own, groups = plain(fsl_sage).after(3), fsl_sage(auxiliary_groups=CLIENTS)
    assert_same(own.arrays, train(groups, grid(), 3))
    assert_same(own.state, groups.state_dict())


@pytest.mark.slow
def test_one_head_for_all_is_aligned_once_on_a_share_of_each_ones_uploads() -> None:
    nodes = grid(batches=small_batches)
    strategy = fsl_sage(auxiliary_groups=1, align_interval=1, align_dataset_size=20)
    train(strategy, nodes, 1)
    state = strategy.state_dict()
    assert list(state["heads"]["heads"]) == list(state["heads"]["samples"]) == [0]
    assert state["heads"]["heads"][0]["version"] == 1
    sent = [content["auxiliary"] for content in nodes.sent if "auxiliary" in content]
    assert len(sent) == CLIENTS
    for other in sent[1:]:
        assert_same(other, sent[0])
    # 20 samples are kept, of each upload at most 7; clients have uploaded 9, 9 and 6 after the
    # probe.
    uploaded = [c["smashed"].to_torch_state_dict()["0"] for c in nodes.received if "smashed" in c]
    kept = state["heads"]["samples"][0]["0"]
    assert len(kept) == 20
    origin = [
        next(i for i, rows in enumerate(uploaded) if any(torch.equal(row, r) for r in rows))
        for row in kept
    ]
    counted = Counter(origin)
    assert all(counted[i] <= 7 for i in counted)
    assert set(origin[-14:]) <= {CLIENTS, CLIENTS + 1, CLIENTS + 2}


@pytest.mark.slow
def test_a_late_client_gets_its_groups_head_without_a_probe() -> None:
    nodes = grid()
    node = list(nodes.contexts)[-1]
    late = nodes.contexts.pop(node)
    strategy = fsl_sage(auxiliary_groups=1, align_interval=1)
    strategy.registry.registration_timeout = 0.0
    strategy.start(
        nodes,
        strategy.initial_arrays(),
        num_rounds=2,
        evaluate_fn=lambda round_, arrays: nodes.contexts.update({node: late} if round_ else {}),
    )
    probed = [client for kind, client, _ in heads_sent(nodes) if kind == PROBE]
    assert probed == list(range(CLIENTS - 1))
    assert (TRAIN, CLIENTS - 1, True) in heads_sent(nodes)
