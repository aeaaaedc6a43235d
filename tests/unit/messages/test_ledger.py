"""Bytes at the paper's setting, from real messages, without training."""

from typing import Any

import pytest
import torch
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict

from fsl_sage_flwr.client_apps.split_fed import ExchangeReply, ExchangeRequest
from fsl_sage_flwr.messages import CommunicationLedger, SmashedBatches, TrainReply, TrainRequest
from fsl_sage_flwr.models import MODELS, build_model
from fsl_sage_flwr.simulations.settings import read_preset
from fsl_sage_flwr.splitting import as_tensors, build_auxiliary, split

CLIENTS = 10
BATCH_SIZES = [256] * 19 + [136]
PLAIN_ROUND = 138_687_040
ROUND_WITH_ALIGNMENT = 222_881_120


def train_request(interval: int, half: Any, head: Any = None) -> RecordDict:
    return TrainRequest(
        round=1,
        server_update_interval=interval,
        keep_optimizer_state=True,
        trained_before=True,
        auxiliary_version=1,
        client_half=half,
        auxiliary=head,
    ).pack()


def train_reply(half: Any, upload: Any = None, head: Any = None) -> RecordDict:
    return TrainReply(
        round=1,
        num_examples=5000,
        optimizer_state_lost=False,
        seconds=0.0,
        step_seconds=0.0,
        client_half=half,
        smashed=upload,
        auxiliary=head,
    ).pack()


def exchange_request(exchange: int, half: Any, gradients: Any) -> RecordDict:
    return ExchangeRequest(
        round=1,
        attempt=0,
        exchange=exchange,
        batches_per_exchange=1,
        keep_optimizer_state=True,
        trained_before=True,
        client_half=half,
        gradients=gradients,
    ).pack()


def paper_round(*, aligned: bool) -> CommunicationLedger:
    example = torch.zeros(2, 3, 32, 32)
    halves = split(build_model("resnet18", (3, 32, 32), 10), MODELS["resnet18"].cut, example)
    smashed = as_tensors(halves.client(example))
    client_half = halves.client.state_dict()
    head = build_auxiliary(halves.server, smashed, 10).state_dict() if aligned else None
    ledger = CommunicationLedger()
    interval = read_preset("paper")["server-update-interval"]
    kept = [size for k, size in enumerate(BATCH_SIZES) if k % interval == 0]
    for _ in range(CLIENTS):
        ledger.add("down", train_request(interval, client_half, head))
        upload = SmashedBatches.join(
            [((torch.zeros(n, 128, 4, 4),), torch.zeros(n, dtype=torch.int64)) for n in kept]
        )
        ledger.add("up", train_reply(client_half, upload))
    return ledger


@pytest.mark.slow
def test_the_other_algorithms_cost_what_the_reference_counts() -> None:
    example = torch.zeros(2, 3, 32, 32)
    halves = split(build_model("resnet18", (3, 32, 32), 10), MODELS["resnet18"].cut, example)
    half, whole = halves.client.state_dict(), halves.merged_state_dict()
    smashed = as_tensors(halves.client(example))
    head = build_auxiliary(halves.server, smashed, 10).state_dict()

    def payload(size: int) -> SmashedBatches:
        return SmashedBatches.join([((torch.zeros(size, 128, 4, 4),), torch.zeros(size).long())])

    fed_avg, split_fed, cse_fsl = (CommunicationLedger() for _ in range(3))
    fed_avg.add("down", train_request(0, whole))
    fed_avg.add("up", train_reply(whole))

    uploads = SmashedBatches.join(
        [((torch.zeros(n, 128, 4, 4),), torch.zeros(n).long()) for n in BATCH_SIZES[::5]]
    )
    cse_fsl.add("down", train_request(5, half, head))
    cse_fsl.add("up", train_reply(half, uploads, head))

    gradients: tuple[torch.Tensor, ...] = ()
    for k, size in enumerate(BATCH_SIZES):
        split_fed.add("down", exchange_request(k, half if k == 0 else None, gradients))
        up = ExchangeReply(round=1, exchange=k, batches=20, smashed=payload(size))
        split_fed.add("up", up.pack())
        gradients = (torch.zeros(size, 128, 4, 4),)
    split_fed.add("down", exchange_request(20, None, gradients))
    split_fed.add("up", train_reply(half))

    assert CLIENTS * fed_avg.reference_total == 895_302_560
    assert CLIENTS * split_fed.reference_total == 874_000_960
    assert CLIENTS * cse_fsl.reference_total == 307_075_200


@pytest.mark.slow
def test_plain_round_costs_what_the_reference_counts() -> None:
    assert paper_round(aligned=False).reference_total == PLAIN_ROUND


@pytest.mark.slow
def test_round_with_alignment_costs_what_the_reference_counts() -> None:
    ledger = paper_round(aligned=True)
    assert ledger.reference_total == ROUND_WITH_ALIGNMENT
    assert ledger.by_kind()["up_auxiliary_bytes"] == 0
    # labels, headers, keys and configuration: less than two per mille
    assert 0 < ledger.total - ledger.reference_total < ROUND_WITH_ALIGNMENT / 500


def test_total_is_what_flower_counts() -> None:
    content = train_request(5, {"a": torch.ones(3)}, {"b": torch.ones(2)})
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
