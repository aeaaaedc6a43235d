"""Compare the halves of any model with the model: outputs, gradients and buffers, bit for bit."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fsl_sage_flwr.splitting import SplitModel, as_tensors
from fsl_sage_flwr.splitting.pytree import leaves_of


def one_pass(model: nn.Module, function: Any, example: Any, *, training: bool) -> list[Any]:
    """Return outputs, gradients and buffers after one pass; ``model`` has the parameters."""
    parts = [function.client, function.server] if isinstance(function, SplitModel) else [model]
    for part in parts:
        part.train(training)
    model.zero_grad()
    torch.manual_seed(7)
    if isinstance(function, SplitModel):
        output = function(*as_tensors(example))
    elif isinstance(example, Mapping):
        output = function(**example)
    else:
        output = function(*as_tensors(example))
    outputs = leaves_of(output, Tensor)
    loss = sum(out.float().square().sum() for out in outputs if out.requires_grad)
    if isinstance(loss, Tensor):
        loss.backward()
    state = [tensor.clone() for tensor in model.state_dict().values()]
    return [*outputs, *(p.grad for p in model.parameters()), *state]


def assert_same_as_uncut(model: nn.Module, halves: SplitModel, *examples: Any) -> None:
    """Compare in train and eval mode, and that the state_dicts are the model's, each name once."""
    uncut = copy.deepcopy(model)
    for example in examples:
        for training in (False, True):
            ours = one_pass(model, halves, example, training=training)
            theirs = one_pass(uncut, uncut, example, training=training)
            assert len(ours) == len(theirs)
            for a, b in zip(ours, theirs, strict=True):
                assert (a is None) == (b is None)
                if a is not None:
                    assert a.shape == b.shape
                    assert torch.equal(a.to_dense(), b.to_dense())
    client, server = halves.client.state_dict(), halves.server.state_dict()
    assert not client.keys() & server.keys()
    assert client.keys() | server.keys() == model.state_dict().keys()


def crossing_of(halves: SplitModel, example: Any) -> list[tuple[tuple[int, ...], torch.dtype]]:
    """Return the shapes and dtypes of the smashed data of an example."""
    with torch.no_grad():
        smashed = as_tensors(halves.client.eval()(*as_tensors(example)))
    return [(tuple(tensor.shape), tensor.dtype) for tensor in smashed]
