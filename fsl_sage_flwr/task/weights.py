"""The tensors of a half or a head that are sent in messages."""

from collections.abc import Mapping

from torch import Tensor, nn

Weights = Mapping[str, Tensor]


def whole_state(module: nn.Module) -> Weights:
    """Return all parameters and buffers of a module, the default for messages."""
    state = module.state_dict()
    for name in [name for name, value in state.items() if not isinstance(value, Tensor)]:
        del state[name]  # of get_extra_state, which split warns of
    return state


def load_whole_state(module: nn.Module, weights: Weights) -> None:
    """Load the result of :func:`whole_state`."""
    own = {n: v for n, v in module.state_dict().items() if not isinstance(v, Tensor)}
    module.load_state_dict({**weights, **own})
