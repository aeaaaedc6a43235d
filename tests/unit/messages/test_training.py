from dataclasses import replace

import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from fsl_sage_flwr.messages import (
    BadReplyError,
    ReplySchema,
    SmashedBatches,
    SmashedSpec,
    TrainReply,
    TrainRequest,
)
from fsl_sage_flwr.objective import classification

HALF = {"weight": torch.ones(2, 3), "count": torch.tensor(4)}
SPEC = SmashedSpec((torch.zeros(1, 4),), classification(2).problem_with)


def reply(**changes: object) -> RecordDict:
    values: dict[str, object] = {
        "round": 5,
        "num_examples": 7,
        "optimizer_state_lost": False,
        "seconds": 1.5,
        "step_seconds": 1.0,
        "client_half": HALF,
        "smashed": SmashedBatches((torch.zeros(3, 4),), torch.tensor([0, 1, 1]), (2, 1)),
    }
    return TrainReply(**{**values, **changes}).pack()  # type: ignore[arg-type]


EXPECTED = ReplySchema(
    equal={"round": 5}, weights={"client_half": HALF}, smashed=SPEC, weighted_by="num-examples"
)


def take(content: RecordDict, expected: ReplySchema = EXPECTED) -> TrainReply:
    return TrainReply.open(content, expected)


def request(**changes: object) -> TrainRequest:
    values: dict[str, object] = {
        "round": 3,
        "server_update_interval": 5,
        "keep_optimizer_state": True,
        "trained_before": False,
        "auxiliary_version": 2,
    }
    return TrainRequest(**{**values, **changes})  # type: ignore[arg-type]


def test_request_comes_back_as_it_went() -> None:
    head = {"linear.weight": torch.rand(2, 2)}
    content = request(client_half=HALF, auxiliary=head).pack(ConfigRecord({"server-round": 4}))
    assert content.config_records["config"]["server-round"] == 4
    back = TrainRequest.unpack(content)
    assert back.client_half is not None
    assert back.auxiliary is not None
    assert torch.equal(back.client_half["weight"], HALF["weight"])
    assert torch.equal(back.auxiliary["linear.weight"], head["linear.weight"])
    assert (back.round, back.server_update_interval, back.auxiliary_version) == (3, 5, 2)
    assert (back.keep_optimizer_state, back.trained_before) == (True, False)


def test_request_without_payload_carries_none() -> None:
    content = request().pack()
    assert not content.array_records
    back = TrainRequest.unpack(content)
    assert back.client_half is None
    assert back.auxiliary is None


def test_reply_leaves_what_flower_averages() -> None:
    content = reply()
    found = take(content)
    assert list(content.array_records) == ["arrays"]
    assert list(content.metric_records) == ["metrics"]
    assert found.smashed is not None
    assert found.smashed.batch_sizes == (2, 1)
    assert found.num_examples == 7


def test_no_upload_is_fine_only_after_a_probe() -> None:
    after_probe = replace(EXPECTED, smashed_may_be_missing=True)
    assert take(reply(smashed=None), after_probe).smashed is None
    with pytest.raises(BadReplyError, match="record 'smashed' is missing"):
        take(reply(smashed=None))


def with_metric(key: str, value: float | list[int]) -> RecordDict:
    content = reply()
    content.metric_records["metrics"][key] = value
    return content


def without(record: str) -> RecordDict:
    content = reply()
    del content[record]
    return content


def with_half(**tensors: torch.Tensor) -> RecordDict:
    content = reply()
    content["arrays"] = ArrayRecord({**HALF, **tensors})
    return content


def with_record(name: str) -> RecordDict:
    content = reply()
    content[name] = ConfigRecord({"a": 1})
    return content


def second_metrics() -> RecordDict:
    content = reply()
    content["more"] = MetricRecord({"num-examples": 1})
    return content


BAD = {
    "no client half": (without("arrays"), "record 'arrays' is missing"),
    "no metrics": (without("metrics"), "record 'metrics' is missing"),
    "two metrics": (second_metrics(), "unknown records: more"),
    "another round": (reply(round=4), "reply of round 4 in round 5"),
    "no weight": (with_metric("num-examples", 0), "positive number"),
    "infinite weight": (with_metric("num-examples", float("inf")), "positive number"),
    "weight a list": (with_metric("num-examples", [1]), "positive number"),
    "NaN seconds": (with_metric("seconds", float("nan")), "number from 0 to 1e.18"),
    "other shape": (with_half(weight=torch.ones(3, 3)), r"expected torch.float32 \(2, 3\)"),
    "other dtype": (with_half(weight=torch.ones(2, 3).half()), "torch.float16"),
    "missing weight": (reply(client_half={"count": HALF["count"]}), "other tensors than expected"),
    "extra weight": (with_half(extra=torch.ones(1)), "other tensors than expected: extra"),
    "NaN": (with_half(weight=torch.full((2, 3), torch.nan)), "'weight' of record 'arrays'"),
    "unknown record": (with_record("surprise"), "unknown records: surprise"),
    "unknown metric": (with_metric("accuracy", 1.0), "'accuracy' is unknown among the metrics"),
    "no flag": (with_metric("optimizer-state-lost", 2), "0 or 1 is needed"),
    "a head": (reply(auxiliary=HALF), "record 'auxiliary' was not asked for"),
    "a loss": (reply(train_loss=1.0), "'train-loss' is unknown among the metrics"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_reply_is_refused_with_its_reason(name: str) -> None:
    content, reason = BAD[name]
    with pytest.raises(BadReplyError, match=reason):
        take(content)
