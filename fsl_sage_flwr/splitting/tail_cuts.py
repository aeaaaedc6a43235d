"""Sizes and costs of cuts whose clients hold the model's tail."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import nn

from .cuts import Cut, cut_of, forward_flops
from .errors import SplitError
from .inputs import Inputs, as_tensors
from .split_model import SplitModel
from .splitter import split


def cuts_before_tail(
    model: nn.Module, example: Inputs, cuts: Iterable[Cut], tail: str
) -> list[Cut]:
    """Return those cuts that leave a server half before a tail, with the tail on the client.

    Parameters
    ----------
    model : nn.Module
        The model; it is not changed.
    example : Tensor, tuple of Tensor or mapping
        Inputs of the model, as for :func:`split`.
    cuts : iterable of Cut
        Of this model, as ``list_cuts`` returns them.
    tail : str
        First submodule of the tail, as for :func:`split`.

    Raises
    ------
    SplitError
        No cut is left; the error is that of the last.
    """
    found, last = list[Cut](), SplitError(f"the model cannot be cut before a tail at {tail!r}.")
    for cut in cuts:
        try:
            halves = split(model, cut.name, example, tail=tail)
        except SplitError as error:
            last = error
        else:
            found.append(_with_tail(cut, halves, example))
    if not found:
        raise last
    return found


def _with_tail(cut: Cut, halves: SplitModel, example: Inputs) -> Cut:
    """Return a cut's sizes with the tail in the client half; it has no auxiliary head."""
    training = [(part, part.training) for part in halves.parts]
    with torch.no_grad():
        tensors = as_tensors(example)
        passed = []
        for part, _ in training[:2]:
            tensors = as_tensors(part.eval()(*tensors))
            passed.append(tensors)
    smashed, hidden = passed
    flops = forward_flops(training[2][0], *hidden)
    for part, was_training in training:
        part.train(was_training)
    return replace(
        cut_of(halves, nn.Module(), smashed, hidden=hidden),
        name=cut.name,
        client_flops=cut.client_flops + flops,
        server_flops=cut.server_flops - flops,
    )
