"""Convert optimizer state to and from named tensors."""

import torch
from torch import Tensor


def flatten_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of every parameter as ``{index}.{name}`` to tensor.

    Hyperparameters are left out: they belong to the task.
    """
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value.detach().cpu()
        if isinstance(value, Tensor)
        else torch.tensor(value)
        for index, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def restore_state(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Load the result of :func:`flatten_state` into an optimizer of the same kind."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
