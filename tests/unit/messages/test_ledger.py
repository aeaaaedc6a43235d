"""Bytes at the paper's setting, from real messages, without training."""

import torch
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict

from fsl_sage_flwr.messages import (
    CommunicationLedger,
    ExchangeReply,
    ExchangeRequest,
    SmashedBatches,
    TrainReply,
    TrainRequest,
)
from fsl_sage_flwr.models import CATALOGUE, build_model
from fsl_sage_flwr.simulations.settings import read_preset
from fsl_sage_flwr.splitting import as_tensors, build_auxiliary, split

CLIENTS = 10
BATCH_SIZES = [256] * 19 + [136]
PLAIN_ROUND = 138_687_040
ROUND_WITH_ALIGNMENT = 222_881_120


def paper_round(*, aligned: bool) -> CommunicationLedger:
    example = torch.zeros(2, 3, 32, 32)
    halves = split(build_model("resnet18", (3, 32, 32), 10), CATALOGUE["resnet18"].cut, example)
    smashed = as_tensors(halves.client(example))
    client_half = halves.client.state_dict()
    head = build_auxiliary(halves.server, smashed, 10).state_dict() if aligned else None
    ledger = CommunicationLedger()
    interval = read_preset("paper")["server-update-interval"]
    kept = [size for k, size in enumerate(BATCH_SIZES) if k % interval == 0]
    for _ in range(CLIENTS):
        request = TrainRequest(1, interval, True, True, 1, client_half, head)
        ledger.add("down", request.to_records())
        upload = SmashedBatches.join(
            [((torch.zeros(n, 128, 4, 4),), torch.zeros(n, dtype=torch.int64)) for n in kept]
        )
        reply = TrainReply(1, 5000, False, 0.0, 0.0, client_half, upload)
        ledger.add("up", reply.to_records())
    return ledger


def test_the_other_algorithms_cost_what_the_reference_counts() -> None:
    example = torch.zeros(2, 3, 32, 32)
    halves = split(build_model("resnet18", (3, 32, 32), 10), CATALOGUE["resnet18"].cut, example)
    half, whole = halves.client.state_dict(), halves.merged_state_dict()
    smashed = as_tensors(halves.client(example))
    head = build_auxiliary(halves.server, smashed, 10).state_dict()

    def payload(size: int) -> SmashedBatches:
        return SmashedBatches.join([((torch.zeros(size, 128, 4, 4),), torch.zeros(size).long())])

    fed_avg, split_fed, cse_fsl = (CommunicationLedger() for _ in range(3))
    fed_avg.add("down", TrainRequest(1, 0, True, True, 0, whole, None).to_records())
    fed_avg.add("up", TrainReply(1, 5000, False, 0.0, 0.0, whole).to_records())

    uploads = SmashedBatches.join(
        [((torch.zeros(n, 128, 4, 4),), torch.zeros(n).long()) for n in BATCH_SIZES[::5]]
    )
    cse_fsl.add("down", TrainRequest(1, 5, True, True, 1, half, head).to_records())
    reply = TrainReply(1, 5000, False, 0.0, 0.0, half, uploads, head)
    cse_fsl.add("up", reply.to_records())

    gradients: tuple[torch.Tensor, ...] = ()
    for k, size in enumerate(BATCH_SIZES):
        down = ExchangeRequest(1, 0, k, 1, True, True, half if k == 0 else None, gradients)
        split_fed.add("down", down.to_records())
        split_fed.add("up", ExchangeReply(1, k, 20, payload(size)).to_records())
        gradients = (torch.zeros(size, 128, 4, 4),)
    flush = ExchangeRequest(1, 0, 20, 1, True, True, None, gradients)
    split_fed.add("down", flush.to_records())
    split_fed.add("up", TrainReply(1, 5000, False, 0.0, 0.0, half).to_records())

    assert CLIENTS * fed_avg.reference_total == 895_302_560
    assert CLIENTS * split_fed.reference_total == 874_000_960
    assert CLIENTS * cse_fsl.reference_total == 307_075_200


def test_plain_round_costs_what_the_reference_counts() -> None:
    assert paper_round(aligned=False).reference_total == PLAIN_ROUND


def test_round_with_alignment_costs_what_the_reference_counts() -> None:
    ledger = paper_round(aligned=True)
    assert ledger.reference_total == ROUND_WITH_ALIGNMENT
    assert ledger.by_kind()["up_auxiliary_bytes"] == 0
    # labels, headers, keys and configuration: less than two per mille
    assert 0 < ledger.total - ledger.reference_total < ROUND_WITH_ALIGNMENT / 500


def test_total_is_what_flower_counts() -> None:
    content = TrainRequest(
        1, 5, True, True, 1, {"a": torch.ones(3)}, {"b": torch.ones(2)}
    ).to_records()
    ledger = CommunicationLedger()
    ledger.add("down", content)
    ledger.add("up", content)
    assert ledger.total == 2 * sum(record.count_bytes() for record in content.values())
    assert ledger.by_kind()["down_auxiliary_bytes"] == content["auxiliary"].count_bytes()
    assert ledger.by_kind()["up_other_bytes"] == content["config"].count_bytes()


def test_counts_go_on_from_a_checkpoint() -> None:
    ledger, again = CommunicationLedger(), CommunicationLedger()
    ledger.add("down", RecordDict({"metrics": MetricRecord({"a": 1})}))
    ledger.add("up", RecordDict({"arrays": ArrayRecord({"w": torch.ones(3)})}))
    again.load_state_dict(ledger.state_dict())
    assert again.by_kind() == ledger.by_kind()
    assert again.reference_total == ledger.reference_total == 12


def test_impossible_dtype_is_counted_by_its_data() -> None:
    ledger = CommunicationLedger()
    hostile = Array(dtype="nonsense", shape=(2,), stype="numpy.ndarray", data=b"12345")
    ledger.add("up", RecordDict({"arrays": ArrayRecord({"w": hostile})}))
    assert ledger.reference_total == 5
