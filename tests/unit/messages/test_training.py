import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from fsl_sage_flwr.messages import (
    BadReplyError,
    SmashedBatches,
    SmashedSpec,
    TrainReply,
    TrainRequest,
)

HALF = {"weight": torch.ones(2, 3), "count": torch.tensor(4)}
SPEC = SmashedSpec((torch.zeros(1, 4),), num_classes=2)


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
    return TrainReply(**{**values, **changes}).to_records()  # type: ignore[arg-type]


def take(content: RecordDict, *, upload: str = "required") -> TrainReply:
    return TrainReply.take_from(
        content, expected_round=5, upload=upload, client_half=HALF, spec=SPEC
    )


def test_request_comes_back_as_it_went() -> None:
    request = TrainRequest(3, 5, True, False, 2, HALF, {"linear.weight": torch.rand(2, 2)})
    content = request.to_records(ConfigRecord({"server-round": 4}))
    assert content.config_records["config"]["server-round"] == 4
    back = TrainRequest.from_records(content)
    assert back.client_half is not None
    assert back.auxiliary is not None
    assert torch.equal(back.client_half["weight"], HALF["weight"])
    assert torch.equal(back.auxiliary["linear.weight"], request.auxiliary["linear.weight"])  # type: ignore[index]
    assert (back.round, back.server_update_interval, back.auxiliary_version) == (3, 5, 2)
    assert (back.keep_optimizer_state, back.trained_before) == (True, False)


def test_request_without_payload_carries_none() -> None:
    content = TrainRequest(3, 5, True, False, 2, None, None).to_records()
    assert not content.array_records
    back = TrainRequest.from_records(content)
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
    assert take(reply(smashed=None), upload="optional").smashed is None
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
    "two metrics": (second_metrics(), "not the only MetricRecord"),
    "another round": (reply(round=4), "reply of round 4 in round 5"),
    "no weight": (with_metric("num-examples", 0), "positive number"),
    "infinite weight": (with_metric("num-examples", float("inf")), "positive number"),
    "weight a list": (with_metric("num-examples", [1]), "positive number"),
    "NaN seconds": (with_metric("seconds", float("nan")), "finite number"),
    "other shape": (with_half(weight=torch.ones(3, 3)), r"expected torch.float32 \(2, 3\)"),
    "other dtype": (with_half(weight=torch.ones(2, 3).half()), "torch.float16"),
    "missing weight": (reply(client_half={"count": HALF["count"]}), "other tensors than expected"),
    "extra weight": (with_half(extra=torch.ones(1)), "other tensors than expected: extra"),
    "NaN": (with_half(weight=torch.full((2, 3), torch.nan)), "'weight' of record 'arrays'"),
    "unknown record": (with_record("surprise"), "unknown records: surprise"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_reply_is_refused_with_its_reason(name: str) -> None:
    content, reason = BAD[name]
    with pytest.raises(BadReplyError, match=reason):
        take(content)
