"""Two floating-point tensors and an integer mask cross in one payload."""

from functools import cache
from typing import Any

import pytest
import torch
from flwr.app import ArrayRecord

from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.splitting import AlignmentRecipe
from fsl_sage_flwr.strategies import CseFsl, FslSage, FullModelFedAvg, SplitFedV1, SplitFedV2
from fsl_sage_flwr.tensor_store import with_prefix

from ...masked import masked_task
from ...memory_grid import MemoryGrid
from ...runs import assert_same, train

CLIENTS = 3


def nodes() -> MemoryGrid:
    return MemoryGrid(build_client_app(lambda context: masked_task()), CLIENTS)


@pytest.mark.slow
def test_all_of_them_cross_and_only_floats_get_gradients() -> None:
    found = nodes()
    train(SplitFedV2(masked_task()), found, 1)
    up = [c.array_records["smashed"] for c in found.received if "smashed" in c]
    down = [c.array_records["gradients"] for c in found.sent if "gradients" in c]
    assert [array.dtype for array in up[0].values()] == ["float32", "float32", "int64"]
    assert {len(record) for record in down} == {2}


def trained(make: Any) -> tuple[Any, ArrayRecord]:
    recipe = {"recipe": AlignmentRecipe(2, 6), "align_interval": 2} if make is FslSage else {}
    strategy = make(masked_task(), **recipe)
    return strategy, train(strategy, nodes(), 3)


plain = cache(trained)  # tests share it


@pytest.mark.parametrize("make", [SplitFedV1, SplitFedV2, CseFsl, FslSage])
@pytest.mark.slow
def test_every_split_algorithm_trains_on_them(make: Any) -> None:
    first, ours = plain(make)
    assert_same(ours, trained(make)[1])
    untrained = make(masked_task())
    start = untrained.initial_arrays().to_torch_state_dict()
    before = untrained.task.model.server.parameters()
    for name, tensor in ours.to_torch_state_dict().items():
        assert not torch.equal(tensor, start[name]), name
    for old, new in zip(before, first.task.model.server.parameters(), strict=True):
        assert not torch.equal(old, new)
    assert first.last_round.failures == {}


@pytest.mark.slow
def test_v1_is_fed_avg_with_them_too() -> None:
    split_one, arrays = plain(SplitFedV1)
    client, server = split_one.model_state(arrays)
    assert_same({**client, **server}, trained(FullModelFedAvg)[1])


@pytest.mark.slow
def test_an_alignment_set_keeps_every_tensor() -> None:
    strategy = FslSage(masked_task(), recipe=AlignmentRecipe(2, 6), server_update_interval=1)
    train(strategy, nodes(), 2)
    assert strategy.last_round.alignment_cosine is None
    state = strategy.state_dict()
    for samples in state["heads"]["samples"].values():
        tensors = [samples[str(place)] for place in range(3)]
        assert [t.dtype for t in tensors] == [torch.float32, torch.float32, torch.int64]
        assert {len(t) for t in tensors} == {len(samples["labels"])}
    for head in state["heads"]["heads"].values():
        assert all(torch.isfinite(p).all() for p in with_prefix(head["file"], "head.").values())
