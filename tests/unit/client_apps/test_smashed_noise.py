"""``smashed_noise_mod`` around each algorithm's messages."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from flwr.app import RecordDict
from flwr.clientapp.mod import arrays_size_mod, message_size_mod
from torch import Tensor

from fsl_sage_flwr import smashed_noise_mod
from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.strategies import SplitFedV2

from ...memory_grid import MemoryGrid
from ...rows import rows
from ...runs import (
    Past,
    assert_same,
    cse_fsl,
    fed_avg,
    fsl_sage,
    split_fed_v1,
    split_fed_v2,
    watched,
)
from ...tasks import CLIENTS, small_app
from ..strategies.test_federated_evaluation import WITH_VALIDATION, evaluated
from ..strategies.test_several_tensors import masked_task

SPLIT = {
    "sl_multi_server": split_fed_v1,
    "sl_single_server": split_fed_v2,
    "cse_fsl": cse_fsl,
    "fsl_sage": fsl_sage,
}
every_split = rows("make", SPLIT.values(), lambda make: make in (split_fed_v2, fsl_sage), ids=SPLIT)
CLIP = 0.5


def trained(make: Callable[..., Any], *mods: Any, rounds: int = 2) -> Past:
    """Train with federated evaluation."""
    strategy = make(WITH_VALIDATION, fraction_evaluate=1.0)
    nodes = MemoryGrid(small_app(mods=list(mods), **WITH_VALIDATION), CLIENTS)
    past = watched(strategy, nodes, rounds)
    assert strategy.last_round.failures == {}
    return past


def all_of(past: Past, rounds: int) -> dict[str, Any]:
    """Return the result of this number of rounds."""
    left = past.after(rounds)
    found = {"arrays": left.arrays, "state": left.state}
    return {**found, "validation": vars(left.summary.validation)}


def uploads(past: Past, rounds: int) -> list[RecordDict]:
    """Return the uploads of this number of rounds."""
    received = past.nodes.received[: past.after(rounds).messages]
    return [content for content in received if "smashed" in content]


def smashed(content: RecordDict) -> Tensor:
    (tensor,) = content.array_records["smashed"].to_torch_state_dict().values()
    return tensor


def others(content: RecordDict) -> dict[str, Any]:
    """Return what is not smashed data, nor a stopwatch."""
    found: dict[str, Any] = {
        name: dict(record.to_torch_state_dict())
        for name, record in content.array_records.items()
        if name != "smashed"
    }
    for name, record in content.metric_records.items():
        found[name] = {k: v for k, v in record.items() if not k.endswith("seconds")}
    return found


@pytest.mark.slow
@every_split
def test_a_huge_norm_without_noise_changes_no_bit(make: Callable[..., Any]) -> None:
    clipped = trained(make, smashed_noise_mod(clip_norm=1e9))
    assert_same(all_of(evaluated(make), 2), all_of(clipped, 2))


@pytest.mark.slow
@every_split
def test_every_upload_is_clipped_and_only_that(make: Callable[..., Any]) -> None:
    plain, other = evaluated(make), trained(make, smashed_noise_mod(clip_norm=CLIP))
    assert plain.after(2).state["ledger"] == other.after(2).state["ledger"]
    types = other.nodes.types
    assert plain.nodes.types[: len(types)] == types
    assert plain.after(2).messages == len(types)
    assert {kind.partition(".")[0] for kind, _ in types} >= {"train", "evaluate"}
    clean, clipped = uploads(plain, 2), uploads(other, 2)
    assert len(clean) == len(clipped) > 2 * CLIENTS
    for before, after in zip(clean, clipped, strict=True):
        norms = smashed(after).flatten(1).norm(dim=1)
        assert norms.max() <= CLIP * (1 + 1e-6) < smashed(before).flatten(1).norm(dim=1).max()
        assert_same(dict(before["labels"]), dict(after["labels"]))
    # Nothing has come back yet: what else the client says of its first batches is the same.
    for before, after in zip(clean[:1], clipped[:1], strict=True):
        assert_same(others(before), others(after))


@pytest.mark.slow
@every_split
def test_the_noise_has_its_deviation_on_every_upload(make: Callable[..., Any]) -> None:
    plain = trained(make, smashed_noise_mod(clip_norm=CLIP), rounds=1)
    noisy = smashed_noise_mod(clip_norm=CLIP, noise_multiplier=40.0, seed=1)
    other = trained(make, noisy, rounds=1)
    assert plain.strategy.ledger.state_dict() == other.strategy.ledger.state_dict()
    hidden = uploads(other, 1)
    first = smashed(hidden[0]) - smashed(uploads(plain, 1)[0])
    assert float(first.std()) == pytest.approx(40 * CLIP, rel=6 / math.sqrt(2 * first.numel()))
    for content in hidden:  # 40 times the largest norm: all of it is noise
        values = smashed(content)
        assert float(values.std()) == pytest.approx(40 * CLIP, rel=8 / math.sqrt(values.numel()))
    draws = [smashed(content).flatten()[:20] for content in hidden]
    for i, one in enumerate(draws):
        assert not any(torch.allclose(one, two, atol=2 * CLIP) for two in draws[:i])


@pytest.mark.slow
@pytest.mark.parametrize("make", [split_fed_v2, cse_fsl])
def test_a_seed_repeats_the_run_and_none_does_not(make: Callable[..., Any]) -> None:
    def run(seed: int | None) -> dict[str, Any]:
        mod = smashed_noise_mod(clip_norm=CLIP, noise_multiplier=0.1, seed=seed)
        return all_of(trained(make, mod, rounds=1), 1)

    seven = run(7)
    assert_same(seven, run(7))
    for one, two in ((seven, run(8)), (run(None), run(None))):
        with pytest.raises(AssertionError):
            assert_same(one, two)


@pytest.mark.slow
def test_masks_cross_as_they_are_and_floats_are_clipped_together() -> None:
    found = []
    for mods in ([], [smashed_noise_mod(clip_norm=CLIP)]):
        nodes = MemoryGrid(build_client_app(lambda context: masked_task(), mods), CLIENTS)
        past = watched(SplitFedV2(masked_task()), nodes, 1)
        found.append(
            list(uploads(past, 1)[0].array_records["smashed"].to_torch_state_dict().items())
        )
    (clean, clipped) = found
    assert [name for name, _ in clean] == [name for name, _ in clipped] == ["0", "1", "2"]
    assert torch.equal(clean[2][1], clipped[2][1])
    norms = torch.cat([t for _, t in clipped[:2]], dim=1).norm(dim=1)
    assert norms.max() <= CLIP * (1 + 1e-6)
    assert clean[0][1].norm(dim=1).min() > CLIP


@pytest.mark.slow
@pytest.mark.parametrize("watcher", [arrays_size_mod, message_size_mod])
def test_it_goes_with_flowers_mods_in_either_order(
    watcher: Any, caplog: pytest.LogCaptureFixture
) -> None:
    mod = smashed_noise_mod(clip_norm=CLIP, noise_multiplier=0.1, seed=3)
    alone = all_of(trained(cse_fsl, mod, rounds=1), 1)
    with caplog.at_level("INFO", logger="flwr"):
        for mods in ((mod, watcher), (watcher, mod)):
            assert_same(alone, all_of(trained(cse_fsl, *mods, rounds=1), 1))
    assert "bytes" in caplog.text


@pytest.mark.slow
def test_fed_avg_has_nothing_to_hide_with_it() -> None:
    mod = smashed_noise_mod(clip_norm=1e-3, noise_multiplier=9.0)
    assert_same(all_of(evaluated(fed_avg), 2), all_of(trained(fed_avg, mod), 2))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"clip_norm": 0.0}, "clip_norm = 0.0: it must be above 0"),
        ({"clip_norm": math.inf}, "clip_norm = inf"),
        ({"clip_norm": math.nan}, "clip_norm = nan"),
        ({"clip_norm": 1.0, "noise_multiplier": -1.0}, "noise_multiplier = -1.0: it must be"),
        ({"clip_norm": 1.0, "noise_multiplier": math.nan}, "noise_multiplier = nan"),
    ],
)
def test_values_out_of_range_are_named(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        smashed_noise_mod(**wrong)
