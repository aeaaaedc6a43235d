"""Warn of parameters that should be trained, and are not."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

log = logging.getLogger("flwr.fsl_sage")

# Steps after which a weight of the server half should have changed.
STEPS = 10

Parts = Sequence[tuple[nn.Module, Mapping[str, Tensor]]]


def warn_of_frozen_clients(parameters: Mapping[str, Tensor], algorithm: str) -> None:
    """Warn where clients have no parameter to train, and are asked to."""
    if not parameters:
        log.warning(
            "every parameter of the client half is frozen, so that %s trains the server half "
            "alone; SplitFrozen does so on smashed data that are sent once",
            algorithm,
        )


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
    """Warns once of weights of the server half that its first steps leave as they were.

    After the first step: weights without a gradient, or without an optimizer. After ``STEPS``
    steps: others that have not changed. One step is not enough: a schedule may begin at 0, and the
    first gradient of a LoRA matrix is.
    """

    def __init__(self) -> None:
        self._steps = 0
        self._unchanged: dict[str, Tensor] = {}

    @contextmanager
    def watching(self, half: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
        """Compare the weights before the first step with those after this one.

        Parameters
        ----------
        half : nn.Module
            The half that is stepped on; with one half per client, all halves count together.
        optimizer : torch.optim.Optimizer
            Its optimizer.
        """
        if self._steps == 0:
            self._unchanged = {n: p.detach().clone() for n, p in _trainable(half).items()}
        yield
        if self._steps == STEPS:
            return
        self._steps += 1
        now = _trainable(half)
        self._unchanged = {
            name: before
            for name, before in self._unchanged.items()
            if name in now and torch.equal(before.to(now[name].device), now[name])
        }
        if self._steps == 1:
            stepped = {id(p) for group in optimizer.param_groups for p in group["params"]}
            self._warn("get no gradient", [n for n, p in now.items() if p.grad is None])
            self._warn(
                "are in no group of server_optimizer",
                [n for n, p in now.items() if id(p) not in stepped],
            )
        elif self._steps == STEPS:
            self._warn(
                f"have not changed in {STEPS} steps: their gradient is 0, or their steps are below "
                "the precision of their dtype",
                list(self._unchanged),
            )
            self._unchanged = {}

    def _warn(self, problem: str, names: Sequence[str]) -> None:
        if names:
            log.warning(
                "%d trainable weights of the server half %s: %s. Freeze them "
                "(requires_grad_(False)) if that is intended",
                len(names),
                problem,
                _listed(names),
            )
            for name in names:
                self._unchanged.pop(name, None)


def _trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    return f"{', '.join(every[:3])}{', …' if len(every) > 3 else ''}"
