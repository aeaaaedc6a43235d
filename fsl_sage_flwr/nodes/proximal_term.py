"""Keep what a client trains near the weights that it was sent (FedProx)."""

from typing import Any

import torch
from flwr.app import RecordDict
from torch import Tensor

from ..messages import PROXIMAL_MU
from ..messages.records import CONFIG


class ProximalTerm:
    """FedProx's term of what an optimizer minimises, ``mu/2 · ||w - w_round||²``.

    Li et al., MLSys 2020, arXiv 1812.06127. Each step of the optimizer begins by adding the term's
    gradient, ``mu · (w - w_round)``, to the parameters' gradients. It is exact beside estimated
    gradients, and depends on no sample: DP-SGD neither clips it nor adds noise to it.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Its parameters have the round's weights.
    mu : float
        Weight of the term.

    Attributes
    ----------
    reference : list of Tensor
        The round's weights, ``w_round``, in the order of the optimizer's parameters.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, mu: float) -> None:
        self._mu = mu
        self._parameters = [
            parameter
            for group in optimizer.param_groups
            for parameter in group["params"]
            if parameter.requires_grad
        ]
        self.reference: list[Tensor] = [p.detach().clone() for p in self._parameters]
        optimizer.register_step_pre_hook(self._add)

    def _add(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for parameter, reference in zip(self._parameters, self.reference, strict=True):
            term = self._mu * (parameter.detach() - reference)
            parameter.grad = term if parameter.grad is None else parameter.grad + term


def proximal_mu(request: RecordDict) -> float:
    """Return the weight of the proximal term that a request asks for; 0 is none."""
    value = request.config_records[CONFIG].get(PROXIMAL_MU, 0.0)
    if not isinstance(value, int | float):
        raise ValueError(f"{PROXIMAL_MU} = {value!r}: a number is needed")
    return float(value)
