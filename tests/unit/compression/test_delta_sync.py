"""What nodes hold: who gets differences, who gets the whole, and what a loss costs."""

import gc
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType, ModuleType

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.serverapp.strategy import DifferentialPrivacyClientSideFixedClipping

from fsl_sage_flwr.compression import PRESETS, Compression, codec_named
from fsl_sage_flwr.compression.differences import code_weights
from fsl_sage_flwr.compression.server import RECORDS, DeltaSync, ReplyDecoder
from fsl_sage_flwr.compression.versions import Version
from fsl_sage_flwr.messages import PackedWeights
from fsl_sage_flwr.messages.arrays import to_arrays
from fsl_sage_flwr.nodes.client_state import ClientState
from fsl_sage_flwr.runs.checkpoint_files import with_files
from fsl_sage_flwr.runs.directory import RunDirectory
from fsl_sage_flwr.state import Transaction
from fsl_sage_flwr.strategies import DivergedError, TrainingFailedError
from fsl_sage_flwr.tensor_store import TensorStore

from ...memory_grid import MemoryGrid, error_instead
from ...rows import rows
from ...runs import CLIENTS, assert_same, cse_fsl, fed_avg, fsl_sage, grid, split_fed_v2, train
from ...tasks import small_app
from ..strategies.test_federated_evaluation import WITH_VALIDATION, nodes

STRONG = PRESETS["strong"]
ONE, TWO = (0, 100), (1, 101)  # client and node


def weights(seed: int) -> PackedWeights:
    generator = torch.Generator().manual_seed(seed)
    return PackedWeights({"w": torch.randn(16, 200, generator=generator), "b": torch.ones(3)})


def version_of(sync: DeltaSync, client: int, record: str) -> Version | None:
    decoder = sync.decoder(client)
    assert isinstance(decoder, ReplyDecoder)
    return decoder.version(record)


def sent(sync: DeltaSync, client: int, record: str) -> Version:
    found = version_of(sync, client, record)
    assert found is not None
    return found


def source_of(version: Version) -> Mapping[str, torch.Tensor]:
    assert version.source is not None
    return version.source


def size(record: ArrayRecord) -> int:
    return sum(len(array.data) for array in record.values())


def test_a_node_that_is_up_to_date_gets_differences_and_another_the_whole() -> None:
    downlink = DeltaSync(STRONG)
    first = [downlink.send("arrays", weights(0), *who) for who in (ONE, TWO)]
    assert [base for _, _, base in first] == [None, None]
    record, number, base = downlink.send("arrays", weights(1), *ONE)
    assert (number, base) == (1, 0)
    assert size(record) < 16 * 200
    downlink.forget([1])
    record, number, base = downlink.send("arrays", weights(1), *TWO)
    assert (number, base) == (1, None)
    assert size(record) > 4 * 16 * 200
    now, whole = sent(downlink, 1, "arrays"), record.to_torch_state_dict()["w"]
    assert torch.equal(source_of(now)["w"] - whole, now.residual["w"])


def test_a_node_that_is_a_few_versions_behind_gets_what_it_missed() -> None:
    downlink, all_sent = DeltaSync(STRONG), []
    for number in range(20):
        all_sent.append(downlink.send("arrays", weights(number), *ONE))
        if number == 0:
            downlink.send("arrays", weights(number), *TWO)
        if number == 3:
            record, version, base = downlink.send("arrays", weights(number), *TWO)
            assert (version, base) == (3, 0)
            assert len(record) == 3 * 2
    # By now the whole is fewer bytes than all that was missed.
    assert downlink.send("arrays", weights(19), *TWO)[2] is None


def test_nothing_new_is_nothing_to_send() -> None:
    downlink = DeltaSync(STRONG)
    downlink.send("arrays", weights(0), *ONE)
    record, number, base = downlink.send("arrays", weights(0), *ONE)
    assert (len(record), number, base) == (0, 0, 0)


def test_an_undone_round_leaves_versions_as_they_were_and_its_nodes_unknown() -> None:
    downlink = DeltaSync(STRONG)
    for who in (ONE, TWO):
        downlink.send("arrays", weights(0), *who)
    downlink.note_counted({0: 0, 1: 0})
    undo, lost = Transaction({"downlink": downlink}), sent(downlink, 0, "arrays").residual["w"]
    undo.save()
    downlink.send("arrays", weights(1), *ONE)
    undo.restore()
    assert torch.equal(sent(downlink, 0, "arrays").residual["w"], lost)
    assert downlink.send("arrays", weights(2), *ONE)[2] is None
    assert downlink.send("arrays", weights(2), *TWO)[2] == 0


@pytest.mark.parametrize("up", ["none", "q4"])
def test_what_the_code_down_lost_is_in_the_average_and_comes_with_the_next(up: str) -> None:
    """Clients that send back what they got: nothing moves on the server, and nothing is lost."""
    downlink = DeltaSync(Compression(client_half_down="q2", client_half_up=up))
    for number, now in enumerate([weights(0), weights(1)]):
        downlink.send("arrays", now, *ONE)
        decoder, lost = downlink.decoder(0), sent(downlink, 0, "arrays").residual
        held = {n: t - lost.get(n, 0) for n, t in now.items()}
        codec = codec_named(up)
        coded = to_arrays(held) if codec is None else code_weights(held, held, codec).record
        found = decoder.decode_weights(RecordDict({"arrays": coded}), "arrays", now)
        assert number == 0 or float(lost["w"].abs().max()) > 0.1
        torch.testing.assert_close(found["w"], now["w"], rtol=0, atol=1e-6)
        assert torch.equal(found["b"], now["b"])


def test_clipping_on_the_clients_and_error_feedback_do_not_go_together() -> None:
    strategy = fed_avg(compression=STRONG)
    private = DifferentialPrivacyClientSideFixedClipping(strategy, 0.1, 1.0, 3)
    with pytest.raises(TypeError, match="client_half_up = 'q4': clients clip what they send"):
        private.start(strategy.wrap_grid(grid()), strategy.initial_arrays(), num_rounds=1)


def test_values_that_cannot_be_coded_end_the_run_by_name() -> None:
    downlink = DeltaSync(STRONG)
    with pytest.raises(DivergedError, match="record 'arrays' for client 0 cannot be coded"):
        downlink.send("arrays", PackedWeights({"w": torch.full((4, 100), 1e30)}), *ONE)


@pytest.mark.slow
@pytest.mark.usefixtures("still_time")
def test_a_node_that_does_not_answer_an_evaluation_gets_the_whole() -> None:
    def silent(partition: int, reply: Message) -> Message | None:
        evaluates = reply.metadata.message_type == "evaluate.split"
        return None if evaluates and partition == 1 else reply

    strategy = cse_fsl(
        WITH_VALIDATION, compression=STRONG, round_timeout=0.5, fraction_evaluate=1.0
    )
    federation = nodes(tamper=silent)
    average = PackedWeights(train(strategy, federation, 1).to_torch_state_dict())
    assert "no reply in time" in strategy.last_round.failures[1]
    node = {i: node for node, i in federation.partition.items()}
    assert strategy.downlink.send("arrays", average, 1, node[1])[2] is None
    assert strategy.downlink.send("arrays", average, 0, node[0])[2] is not None


def test_heads_of_a_clients_own_are_versions_of_their_own() -> None:
    downlink = DeltaSync(STRONG)
    mine, yours = dict(weights(0)), dict(weights(1))
    assert downlink.send("auxiliary", mine, *ONE)[1:] == (0, None)
    assert downlink.send("auxiliary", yours, *TWO)[1:] == (0, None)
    assert downlink.send("auxiliary", dict(weights(2)), *ONE)[1:] == (1, 0)


def of_its_own(seed: int) -> dict[str, torch.Tensor]:
    return dict(weights(seed)) | {"count": torch.tensor(seed), "none": torch.zeros(0, 3)}


def in_memory(downlink: DeltaSync) -> int:
    """Return how many elements of tensors an object holds in memory."""
    gc.collect()
    seen, left, count = set[int](), list[object]([vars(downlink)["_versions"]]), 0
    while left:
        each = left.pop()
        if id(each) in seen or isinstance(each, type | ModuleType | FunctionType):
            continue
        seen.add(id(each))
        count += each.numel() if isinstance(each, torch.Tensor) else 0
        count += len(each.data) if isinstance(each, Array) else 0
        left += gc.get_referents(each)
    return count


@pytest.mark.slow
def test_a_head_of_a_clients_own_is_in_files_between_messages(tmp_path: Path) -> None:
    downlink = DeltaSync(STRONG)
    downlink.files = TensorStore(tmp_path)
    for round_ in range(2):
        for client in range(8):
            downlink.send("auxiliary", of_its_own(10 * round_ + client), client, 100 + client)
            assert sent(downlink, client, "auxiliary").residual["w"].abs().max() > 0
    assert in_memory(downlink) == 0
    gc.collect()
    assert len(list(tmp_path.iterdir())) == 2 * 8  # weights, and the code of the last step


@pytest.mark.parametrize("codec", ["none", "q4"])
def test_versions_in_files_are_those_in_memory_bit_for_bit(codec: str) -> None:
    """Messages, repeated ones too, and the base of replies: as if all were one client's."""
    compression = Compression(auxiliary=codec, smashed="q8")
    filed, held = DeltaSync(compression), DeltaSync(compression)
    for seed in (0, 0, 1, 2, 2):
        for again in (False, True):
            if again:
                filed.forget([0])
                held.forget([0])
            own = filed.send("auxiliary", of_its_own(seed), *ONE)
            # By another name for weights that several nodes share, which are in memory.
            shared = held.send("auxiliary", PackedWeights(of_its_own(seed), name="0"), *ONE)
            assert own[1:] == shared[1:]
            for name, array in shared[0].items():
                ours = own[0][name]
                assert (ours.dtype, tuple(ours.shape), ours.stype, ours.data) == (
                    array.dtype, tuple(array.shape), array.stype, array.data,
                )  # fmt: skip
            assert list(own[0]) == list(shared[0])
            for record in RECORDS:
                ours, theirs = (version_of(each, 0, record) for each in (filed, held))
                assert (ours is None) == (theirs is None) == (record != "auxiliary")
                if ours is not None and theirs is not None:
                    assert_same(dict(source_of(ours)), dict(source_of(theirs)))
                    assert_same(ours.residual, theirs.residual)


def test_a_checkpoint_names_the_files_and_the_next_run_goes_on_from_them(tmp_path: Path) -> None:
    run, downlink = RunDirectory(tmp_path), DeltaSync(STRONG)
    downlink.files = run.checkpoints.tensors
    downlink.send("auxiliary", of_its_own(0), *ONE)
    downlink.send("auxiliary", of_its_own(1), *ONE)
    run.checkpoints.write(run.checkpoints.latest, downlink.state_dict())
    assert run.checkpoints.latest.stat().st_size < 4 * 16 * 200
    saved = torch.load(run.checkpoints.latest, weights_only=True)
    resumed = DeltaSync(STRONG)
    resumed.files = TensorStore(tmp_path / "other")
    resumed.load_state_dict(with_files(saved, run.checkpoints.tensors.path))
    theirs = sent(downlink, 0, "auxiliary")
    # Of a client that this run has not asked yet.
    assert all(version_of(resumed, 0, record) is None for record in RECORDS)
    for each in (resumed, downlink):
        each.forget([0])
    again = [each.send("auxiliary", of_its_own(1), 0, 555) for each in (resumed, downlink)]
    assert again[0][1:] == again[1][1:] == (1, None)
    assert again[0][0] == again[1][0]
    ours = sent(resumed, 0, "auxiliary")
    assert_same(dict(source_of(ours)), dict(source_of(theirs)))


def test_a_checkpoint_of_an_earlier_version_has_them_in_memory() -> None:
    before, earlier = DeltaSync(STRONG), DeltaSync(STRONG)
    before.send("auxiliary", PackedWeights(of_its_own(0), name="0"), *ONE)
    saved = before.state_dict()
    versions = {"auxiliary/0": saved["versions"]["auxiliary/0"]}
    earlier.load_state_dict({**saved, "versions": versions})
    assert in_memory(earlier) > 0
    assert earlier.send("auxiliary", of_its_own(1), *ONE)[1] == 1
    assert in_memory(earlier) == 0


@pytest.mark.slow
@rows("make", [fed_avg, split_fed_v2, cse_fsl, fsl_sage], lambda make: make is fsl_sage)
def test_a_node_that_lost_its_files_is_left_out_once(make, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """It reports it; then it gets the whole, and the others differences as before."""
    strategy, nodes = make(compression=STRONG), grid()

    def each_round(server_round: int, arrays: object) -> None:
        if server_round == 1:
            state = next(c for c in nodes.contexts.values() if c.node_config["partition-id"] == 1)
            ClientState(state).drop("held-arrays")
        elif server_round == 2:
            assert "version 0 of the client half is gone" in strategy.last_round.failures[1]
        elif server_round == 3:
            assert strategy.last_round.failures == {}

    strategy.start(nodes, strategy.initial_arrays(), num_rounds=3, evaluate_fn=each_round)
    assert strategy.last_round.clients == CLIENTS


@pytest.mark.slow
def test_what_a_code_lost_is_added_to_the_next_that_counts() -> None:
    """A reply that did not count was never added up: what it lost must not be sent again."""
    seen = list[dict[str, torch.Tensor]]()

    class Watching(ClientState):
        def load(self, name: str, version: int = 0) -> dict[str, torch.Tensor] | None:
            found = super().load(name, version)
            if name.startswith("residual-arrays") and found is not None:
                seen.append(found)
            return found

    def fails_in_round_2(partition: int, reply: Message) -> Message:
        if partition == 0 and reply.has_content() and "metrics" in reply.content:
            number = reply.content.metric_records["metrics"].get("round")
            return error_instead(reply) if number == 1 else reply
        return reply

    monkey = pytest.MonkeyPatch()
    monkey.setattr("fsl_sage_flwr.nodes.app.ClientState", Watching)
    try:
        train(cse_fsl(compression=STRONG), grid(1), 2)
        (after_one,) = seen
        seen.clear()
        strategy = cse_fsl(compression=STRONG, max_failed_rounds=5)
        train(strategy, grid(1, tamper=fails_in_round_2), 3)
    finally:
        monkey.undo()
    assert len(seen) == 2  # in the second round and, as that did not count, in the third
    for found in seen:
        assert_same(found, after_one)


@pytest.mark.slow
def test_other_mods_see_what_is_not_coded_and_noise_comes_before_the_code() -> None:
    found = list[set[str]]()

    def look(message: Message, context: Context, call_next):  # type: ignore[no-untyped-def]
        reply = call_next(message, context)
        for content in (message.content, reply.content):
            found.append({a.stype for r in content.array_records.values() for a in r.values()})
        return reply

    strategy = cse_fsl(compression=STRONG)
    nodes = MemoryGrid(small_app(mods=[look]), CLIENTS)
    train(strategy, nodes, 2)
    assert set().union(*found) == {"numpy.ndarray"}
    stypes = {
        array.stype
        for content in nodes.received
        for record in content.array_records.values()
        for array in record.values()
    }
    assert stypes == {"numpy.ndarray", "fsl-sage.exact", "fsl-sage.q4"}  # labels travel as they are


def test_a_codec_that_a_node_does_not_know_is_named() -> None:
    def unknown(message: RecordDict) -> None:
        message.config_records["config"]["fsl-sage-compression"] = "smashed=mine"

    class Told(MemoryGrid):
        def push_messages(self, messages):  # type: ignore[no-untyped-def]
            messages = list(messages)
            for message in messages:
                if "fsl-sage-compression" in message.content.config_records.get(
                    "config", ConfigRecord()
                ):
                    unknown(message.content)
            return super().push_messages(messages)

    strategy = cse_fsl(compression=Compression(smashed="q4"), max_failed_rounds=9)
    with pytest.raises(TrainingFailedError, match=r"\(3\) fail with the same error, .*'mine'"):
        train(strategy, Told(small_app(), CLIENTS), 1)
    assert "smashed = 'mine': valid are none, f16, q8" in strategy.last_round.failures[0]


def test_an_uncoded_reply_to_a_request_for_codes_is_refused() -> None:
    def plain(partition: int, reply: Message) -> Message:
        if partition == 1 and "smashed" in reply.content:
            array = reply.content.array_records["smashed"]["0"]
            values = torch.zeros(tuple(array.shape)).numpy()
            reply.content["smashed"] = ArrayRecord({"0": Array(values)})
        return reply

    strategy = cse_fsl(compression=STRONG)
    train(strategy, grid(tamper=plain), 1)
    assert "'numpy.ndarray'; 'fsl-sage.q4' is needed" in strategy.last_round.failures[1]
