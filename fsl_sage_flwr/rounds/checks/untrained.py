"""Warn of parameters that should be trained, and are not."""

import logging
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

log = logging.getLogger("flwr.fsl_sage")

Parts = Sequence[tuple[nn.Module, Mapping[str, Tensor]]]


class UntrainedClientWeights:
    """Warns once of weights that clients should train and that two rounds leave as they were.

    One round is not enough: a schedule may begin at 0, and the first gradient of a LoRA matrix is.
    """

    def __init__(self) -> None:
        self._rounds, self._unchanged = 0, set[tuple[int, str]]()

    def record(self, before: Parts, after: Parts) -> None:
        """Compare the averages before and after a round that counts.

        Parameters
        ----------
        before, after : sequence of (nn.Module, Mapping)
            The halves that clients train, each with its weights.
        """
        if self._rounds == 2:
            return
        self._rounds += 1
        unchanged = {
            (place, name)
            for place, ((module, old), (_, new)) in enumerate(zip(before, after, strict=True))
            for name in _trainable(module)
            if name in old and name in new and torch.equal(old[name], new[name])
        }
        self._unchanged = unchanged if self._rounds == 1 else self._unchanged & unchanged
        if self._rounds == 2 and self._unchanged:
            log.warning(
                "%d trainable weights of the clients have not changed in two rounds: %s; the loss "
                "does not depend on them, client_optimizer leaves them out, or their steps are "
                "below the precision of their dtype. Freeze them (requires_grad_(False)) if that "
                "is intended",
                len(self._unchanged),
                _listed(name for _, name in sorted(self._unchanged)),
            )


class UntrainedServerWeights:
    """Warns once of weights of the server half without a gradient, or without an optimizer."""

    def __init__(self) -> None:
        self._is_done = False

    def check(self, half: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Look at the first step's gradients, which the optimizer has just used."""
        if self._is_done:
            return
        self._is_done = True
        stepped = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for problem, names in (
            ("get no gradient", [n for n, p in _trainable(half).items() if p.grad is None]),
            (
                "are in no group of server_optimizer",
                [n for n, p in _trainable(half).items() if id(p) not in stepped],
            ),
        ):
            if names:
                log.warning(
                    "%d trainable weights of the server half %s: %s. Freeze them "
                    "(requires_grad_(False)) if that is intended",
                    len(names),
                    problem,
                    _listed(names),
                )


def _trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    return f"{', '.join(every[:3])}{', …' if len(every) > 3 else ''}"
