"""Two floating-point tensors and an integer mask cross in one payload."""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.splitting import AlignmentRecipe, split
from fsl_sage_flwr.strategies import CseFsl, FslSage, FullModelFedAvg, SplitFedV1, SplitFedV2
from fsl_sage_flwr.task import Batch, ClientIdentity, SplitTask

from ...memory_grid import MemoryGrid
from ...runs import assert_same, train

CLIENTS, WIDTH = 3, 6


class Masked(nn.Module):
    """A skip connection and a mask, both made in front of ``back``."""

    def __init__(self) -> None:
        super().__init__()
        self.front, self.skip = nn.Linear(4, WIDTH), nn.Linear(4, WIDTH)
        self.back, self.scores = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden, skip = self.front(x), torch.tanh(self.skip(x))
        mask = (hidden > 0).long()
        return self.scores(torch.relu(self.back(hidden) * mask) + skip)


def batches(client: ClientIdentity, seed: int) -> Iterable[Batch]:
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(3):
        labels = torch.randint(3, (6,), generator=generator)
        noise = torch.randn(6, 4, generator=generator)
        made.append((noise + 2 * nn.functional.one_hot(labels, 4), labels))
    return made


def masked_task() -> SplitTask:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        example = torch.randn(4, 4)
        model = split(Masked(), "back", example)
    return SplitTask(model, example, 3, batches)


def nodes() -> MemoryGrid:
    return MemoryGrid(build_client_app(lambda context: masked_task()), CLIENTS)


def test_all_of_them_cross_and_only_floats_get_gradients() -> None:
    found = nodes()
    train(SplitFedV2(masked_task()), found, 1)
    up = [c.array_records["smashed"] for c in found.received if "smashed" in c]
    down = [c.array_records["gradients"] for c in found.sent if "gradients" in c]
    assert [array.dtype for array in up[0].values()] == ["float32", "float32", "int64"]
    assert {len(record) for record in down} == {2}


@pytest.mark.parametrize("make", [SplitFedV1, SplitFedV2, CseFsl, FslSage])
def test_every_split_algorithm_trains_on_them(make: Any) -> None:
    recipe = {"recipe": AlignmentRecipe(2, 6), "align_interval": 2} if make is FslSage else {}
    first, second = make(masked_task(), **recipe), make(masked_task(), **recipe)
    start = first.initial_arrays().to_torch_state_dict()
    before = [p.clone() for p in first.task.model.server.parameters()]
    ours = train(first, nodes(), 3)
    assert_same(ours, train(second, nodes(), 3))
    for name, tensor in ours.to_torch_state_dict().items():
        assert not torch.equal(tensor, start[name]), name
    for old, new in zip(before, first.task.model.server.parameters(), strict=True):
        assert not torch.equal(old, new)
    assert first.last_round.failures == {}


def test_v1_is_fed_avg_with_them_too() -> None:
    split_one, whole = SplitFedV1(masked_task()), FullModelFedAvg(masked_task())
    client, server = split_one.model_state(train(split_one, nodes(), 3))
    assert_same({**client, **server}, train(whole, nodes(), 3))


def test_an_alignment_set_keeps_every_tensor() -> None:
    strategy = FslSage(masked_task(), recipe=AlignmentRecipe(2, 6), server_update_interval=1)
    train(strategy, nodes(), 2)
    assert strategy.last_round.alignment_cosine is None
    for state in strategy.state_dict()["clients"].values():
        assert [t.dtype for t in state["tensors"]] == [torch.float32, torch.float32, torch.int64]
        assert {len(t) for t in state["tensors"]} == {len(state["labels"])}
        assert all(torch.isfinite(p).all() for p in state["head"].values())
