"""Where a model can be cut, what that costs, and which cut a budget chooses."""

import copy

import pytest
import torch
from torch import Tensor, nn

from fsl_sage_flwr.algorithm_registry import ALGORITHMS
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.config import Options
from fsl_sage_flwr.models import build_model
from fsl_sage_flwr.splitting import Cut, SplitError, Workload, choose_cut, list_cuts, split

from ...thin import SHAPE, thin_resnet

PAPER = Workload(examples=5000, batch_size=256)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.block = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1), nn.ReLU())
        self.flat = nn.Flatten()
        self.scores = nn.Linear(8 * 16, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.scores(self.flat(self.block(self.stem(images))))


EXAMPLE = torch.zeros(2, 1, 8, 8)


def test_every_cut_and_its_sizes_by_hand() -> None:
    cuts = {cut.name: cut for cut in list_cuts(Small(), EXAMPLE)}
    assert list(cuts) == ["block", "block.0", "block.1", "flat", "scores"]
    cut = cuts["block"]
    assert cut.smashed_shapes == ((4, 8, 8),)
    assert cut.smashed_bytes == 4 * 4 * 8 * 8
    assert cut.client_parameters == 4 * 9
    assert cut.server_parameters == 8 * (4 * 9 + 1) + 3 * (128 + 1)
    assert cut.client_bytes == 4 * cut.client_parameters
    assert cut.client_flops == 2 * 64 * 4 * 9
    assert cut.server_flops == 2 * 16 * 8 * 4 * 9 + 2 * 128 * 3
    assert cuts["flat"].smashed_shapes == ((8, 4, 4),)


def test_depth_says_how_deep_it_looks() -> None:
    assert [cut.name for cut in list_cuts(Small(), EXAMPLE, depth=1)] == ["block", "flat", "scores"]


@pytest.mark.slow
def test_the_model_is_left_as_it_was() -> None:
    model = thin_resnet().eval()
    before, rng = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    list_cuts(model, torch.randn(2, *SHAPE, generator=torch.Generator()), depth=1)
    assert not model.training
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert rng.shape == torch.get_rng_state().shape


@pytest.mark.slow
def test_what_is_listed_can_be_cut() -> None:
    model, example = thin_resnet(), torch.randn(2, *SHAPE)
    cuts = list_cuts(model, example)
    assert len(cuts) > 8
    for cut in cuts:
        halves = split(model, cut.name, example)
        assert cut.client_parameters == sum(p.numel() for p in halves.client.parameters())


def options(algorithm: str, values: dict[str, int]) -> Options:
    return RunConfig.from_run_config({**values, "algorithm": algorithm}).options


@pytest.mark.slow
def test_bytes_of_a_round_are_the_published_ones() -> None:
    """ResNet-18 cut at layer3, at the paper's setting: ten clients' figures, per client."""
    model = build_model("resnet18", (3, 32, 32), 10)
    (cut,) = [c for c in list_cuts(model, torch.zeros(2, 3, 32, 32), depth=1) if c.name == "layer3"]
    intervals = {"server-update-interval": 5, "align.interval": 10}
    found = {
        name: algorithm.round_bytes(cut, PAPER, options(name, intervals))
        for name, algorithm in ALGORITHMS.items()
        if algorithm.round_bytes is not None
    }
    assert found == {
        "fed_avg": 895_302_560 // 10,
        "sl_multi_server": 874_000_960 // 10,
        "sl_single_server": 874_000_960 // 10,
        "cse_fsl": 307_075_200 // 10,
        "heron_sfl": 307_075_200 // 10,
        "fsl_sage": 138_687_040 // 10 + 8_419_408 // 10,
        "cycle_sl": 874_000_960 // 10,
        # No gradients, but three points: twice the client half, and 1.5 times the rest of it.
        "mu_splitfed": 2 * 2_740_048 + 3 * (874_000_960 // 10 - 2 * 2_740_048) // 2,
        "ampere": 2 * (2_740_048 + 8_419_408) + 874_000_960 // 20,  # head and half once, one upload
        "split_frozen": 874_000_960 // 20,  # one way of SplitFed's, where a run has one round
    }


def test_a_budget_takes_the_cut_with_the_fewest_bytes() -> None:
    cuts = list_cuts(Small(), EXAMPLE)

    def bytes_of(cut: Cut) -> int:
        return 2 * cut.client_bytes + 200 * cut.smashed_bytes

    assert choose_cut(cuts, bytes_of) == min(cuts, key=bytes_of)
    assert choose_cut(cuts, bytes_of, max_parameters=40).client_parameters <= 40
    assert choose_cut(cuts, bytes_of, max_flops=5000).client_flops <= 5000


def test_a_budget_that_nothing_fits_is_refused_with_what_is_needed() -> None:
    cuts = list_cuts(Small(), EXAMPLE)
    with pytest.raises(SplitError, match=r"cut at 'block', has 36 parameters and 4,608 FLOPs"):
        choose_cut(cuts, lambda cut: cut.client_bytes, max_parameters=35)
    with pytest.raises(SplitError, match="cannot be cut anywhere"):
        choose_cut([], lambda cut: cut.client_bytes)
