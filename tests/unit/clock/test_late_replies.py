"""The work of a reply that is merged in a later round than that of its request."""

from typing import Any

from fsl_sage_flwr.clock.recorded import RecordedRounds

HISTORY = {"down_client_half_bytes": 200.0, "up_client_half_bytes": 50.0}


def row(client: int, examples: int | None, down: int, up: int) -> dict[str, Any]:
    late = {"staleness": 0} if examples else {"staleness": None}
    return {"client": client, "examples": examples, "down_bytes": down, "up_bytes": up,
            "failure": "", **late}  # fmt: skip


def test_a_late_reply_counts_once_with_the_bytes_that_its_client_was_sent() -> None:
    recorded = RecordedRounds({"batch-size": 5, "local-epochs": 1}, None)
    first = recorded.round({"round": 1, **HISTORY}, [row(0, 10, 100, 50), row(1, None, 100, 0)])
    assert first.clients == (0,)
    second = recorded.round({"round": 2, **HISTORY}, [row(0, None, 100, 0), row(1, 20, 0, 50)])
    assert second.clients == (1,)
    assert second.examples.tolist() == [20]
    assert {kind: sizes.tolist() for kind, sizes in second.down.items()} == {"client_half": [100.0]}
    assert {kind: sizes.tolist() for kind, sizes in second.up.items()} == {"client_half": [50.0]}
    third = recorded.round({"round": 3, **HISTORY}, [row(0, 10, 0, 50), row(1, 20, 100, 50)])
    assert third.clients == (0, 1)
    assert third.down["client_half"].tolist() == [100.0, 100.0]


def test_a_client_without_a_message_has_the_examples_of_an_earlier_round() -> None:
    recorded = RecordedRounds({"batch-size": 5}, None)
    plain = [{**row(0, 10, 100, 50)}, {**row(0, None, 0, 0)}]
    for number, one in enumerate(plain, start=1):
        del one["staleness"]
        assert recorded.round({"round": number, **HISTORY}, [one]).clients == (0,)
