"""Wrap a model of Transformers as a module from token ids to scores."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

IGNORED = -100
"""Label of a position that is not learned: the prompt and the padding."""


class TokenScores(nn.Module):
    """A causal language model, from token ids ``(B, T)`` to scores ``(B, T, V)``.

    There is no attention mask: attention is causal and padding is on the right, so no learned token
    attends to it.

    Parameters
    ----------
    model : nn.Module
        Model of Transformers, with or without an adapter of PEFT.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        known: Any = getattr(model, "get_output_embeddings", lambda: None)
        last = known()
        if last is not None:
            last.asked_for = None
            last.register_forward_pre_hook(_learned_positions)

    def forward(self, ids: Tensor) -> Tensor:
        """Return each position's scores of the following token."""
        scores: Tensor = self.model(input_ids=ids, use_cache=False).logits
        return scores


def _learned_positions(last: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
    if last.asked_for is None:
        return None
    hidden, *others = arguments
    return (hidden[:, :-1][last.asked_for], *others)


@contextmanager
def where_labels_count(module: nn.Module, labels: Tensor) -> Iterator[None]:
    """Compute scores of learned tokens only.

    The vocabulary is large: scores of prompts and padding would be most of a head's work and
    memory. Inside the context, :class:`TokenScores` modules return ``(N, V)``, for the ``N`` labels
    of ``(B, T)`` that are not ignored and not at a first position.
    """
    last = [part for part in module.modules() if "asked_for" in vars(part)]
    for part in last:
        part.asked_for = labels[:, 1:] != IGNORED
    try:
        yield
    finally:
        for part in last:
            part.asked_for = None  # type: ignore[assignment]
