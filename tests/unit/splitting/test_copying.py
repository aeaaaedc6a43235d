import copy

import torch
from torch import nn

from fsl_sage_flwr.splitting import build_auxiliary, copy_sharing_frozen, split, trainable_state


def partly_frozen() -> nn.Module:
    torch.manual_seed(0)
    parts = [
        nn.Linear(6, 6),
        nn.ReLU(),
        nn.Linear(6, 6),
        nn.ReLU(),
        nn.Linear(6, 6),
        nn.Linear(6, 3),
    ]
    parts[2].requires_grad_(False)
    return nn.Sequential(*parts)


def test_a_copy_shares_what_is_frozen_and_owns_the_rest() -> None:
    model = partly_frozen()
    for name, parameter in copy_sharing_frozen(model).named_parameters():
        own = model.get_parameter(name)
        assert (parameter is own) is not own.requires_grad


def test_an_optimizer_of_a_copy_steps_on_it_alone() -> None:
    model = partly_frozen()
    other = copy_sharing_frozen(model)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    other(torch.randn(2, 6)).sum().backward()
    before = copy.deepcopy(model.state_dict())
    optimizer.step()
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert not torch.equal(other[0].weight, model[0].weight)


def test_a_default_head_initialises_nothing_of_the_server_half() -> None:
    halves = split(partly_frozen(), "2", torch.randn(2, 6))
    before = copy.deepcopy(halves.server.state_dict())
    head = build_auxiliary(halves.server, (torch.randn(2, 6),), 3, max_share=0.9)
    another = head.fresh_copy(halves.server)
    for module in (head, another):
        for parameter in module.parameters():
            parameter.data.zero_()
    assert head.body is not None
    assert all(torch.equal(t, before[n]) for n, t in halves.server.state_dict().items())


def test_both_names_of_a_tied_frozen_weight_are_left_out() -> None:
    model = partly_frozen()
    model[5] = nn.Linear(6, 6)
    model[5].weight = model[2].weight
    assert "2.weight" not in trainable_state(model)
    assert "5.weight" not in trainable_state(model)
