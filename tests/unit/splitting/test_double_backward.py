"""What an alignment cannot differentiate twice is replaced, or refused by name."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsl_sage_flwr.splitting import (
    AlignmentRecipe,
    SplitError,
    align,
    as_tensors,
    build_auxiliary,
    check_twice_differentiable,
    split,
)
from fsl_sage_flwr.splitting.double_backward import PlainHardsigmoid, twice_differentiable
from fsl_sage_flwr.strategies import FslSage
from fsl_sage_flwr.task import SplitTask

from ...tasks import CLASSIFICATION


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, smashed: Tensor) -> Tensor:
        return self.linear(F.hardsigmoid(smashed))


def test_the_plain_form_has_the_same_values() -> None:
    x = torch.linspace(-5, 5, 101)
    torch.testing.assert_close(PlainHardsigmoid()(x), F.hardsigmoid(x))


def test_modules_are_replaced_wherever_they_are() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Hardsigmoid(), nn.Hardswish()))
    twice_differentiable(model)
    assert [type(m) for m in model[1]] == [PlainHardsigmoid, nn.Hardswish]
    assert isinstance(twice_differentiable(nn.Hardsigmoid()), PlainHardsigmoid)


def test_an_operation_in_a_forward_is_refused_by_name() -> None:
    smashed = (torch.randn(4, 4),)
    labels = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(SplitError, match=r"'hardsigmoid' cannot be differentiated twice"):
        check_twice_differentiable(Functional(), smashed, labels, CLASSIFICATION)
    check_twice_differentiable(nn.Linear(4, 3), smashed, labels, CLASSIFICATION)


def test_the_strategy_refuses_such_a_head_before_it_starts() -> None:
    example = torch.randn(4, 4)
    halves = split(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)), "2", example)
    task = SplitTask(halves, example, 3, lambda client, seed: [], auxiliary=Functional)
    with pytest.raises(SplitError, match="Use auxiliary = 'linear'"):
        FslSage(task)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "at"),
    [
        ("mobilenet_v3_small", "features.9"),
        ("VisionTransformer", "encoder.layers.encoder_layer_1"),
    ],
)
def test_heads_of_hardsigmoids_and_of_attention_are_aligned(model: str, at: str) -> None:
    from torchvision import models

    small: dict[str, Any] = {
        "image_size": 32, "patch_size": 8, "num_layers": 4, "num_heads": 2, "hidden_dim": 8,
        "mlp_dim": 16,
    }  # fmt: skip
    settings = small if model == "VisionTransformer" else {}
    whole = getattr(models, model)(num_classes=3, **settings)
    halves = split(whole, at, torch.randn(2, 3, 32, 32))
    smashed = tuple(t.detach() for t in as_tensors(halves.client(torch.randn(6, 3, 32, 32))))
    head = build_auxiliary(halves.server, smashed, 3)
    assert head.body is not None
    before = [p.clone() for p in head.parameters()]
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    gradients = tuple(torch.randn_like(t) for t in smashed)
    generator = torch.Generator().manual_seed(0)
    recipe = AlignmentRecipe(epochs=1, batch_size=6)
    align(
        head, optimizer, smashed, torch.tensor([0, 1, 2, 0, 1, 2]), gradients, CLASSIFICATION,
        recipe, generator,
    )  # fmt: skip
    moved = [not torch.equal(p, b) for p, b in zip(head.parameters(), before, strict=True)]
    assert sum(moved) > len(moved) // 2
