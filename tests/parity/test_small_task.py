"""The tests' own task: its halves are written out, and are what ``split`` makes of its model."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsl_sage_flwr.splitting import SplitModel, split

from ..runs import assert_same
from ..tasks import CLASSES, small_net, small_task


def what_it_does(halves: SplitModel, inputs: Tensor, labels: Tensor) -> dict[str, object]:
    """Return all that training and evaluation see of a model in two halves."""
    client, server = copy.deepcopy((halves.client, halves.server))
    torch.manual_seed(2)  # the dropout's
    smashed = client.train()(inputs)
    scores = server.train()(smashed)
    F.cross_entropy(scores, labels).backward()
    parameters = [*client.named_parameters(), *server.named_parameters()]
    return {
        "smashed": smashed.detach(),
        "scores": scores.detach(),
        "gradients": {name: parameter.grad for name, parameter in parameters},
        "after": [client.state_dict(), server.state_dict()],
        "evaluated": server.eval()(client.eval()(inputs)).detach(),
    }


def names(half: nn.Module) -> list[list[str]]:
    return [list(half.state_dict()), [n for n, _ in half.named_parameters()]]


def test_halves_of_the_small_task_are_the_ones_that_split_returns() -> None:
    whole, example = small_net()
    by_split, ours = split(whole, at="block", example=example), small_task().model
    assert ours.cut == by_split.cut
    assert names(ours.client) == names(by_split.client)
    assert names(ours.server) == names(by_split.server)
    assert_same(ours.client.state_dict(), by_split.client.state_dict())
    assert_same(ours.server.state_dict(), by_split.server.state_dict())
    inputs, labels = torch.randn(5, 1, 6, 6), torch.arange(5) % CLASSES
    assert_same(what_it_does(ours, inputs, labels), what_it_does(by_split, inputs, labels))


def test_heads_of_the_small_task_are_the_ones_of_the_halves_that_split_returns() -> None:
    whole, example = small_net()
    ours, theirs = small_task(), small_task(model=split(whole, at="block", example=example))
    mine, heads = ours.new_head("x"), theirs.new_head("x")
    smashed = ours.smashed_example()
    assert_same(smashed, theirs.smashed_example())
    assert_same(mine.state_dict(), heads.state_dict())
    assert torch.equal(mine.eval()(*smashed), heads.eval()(*smashed))
