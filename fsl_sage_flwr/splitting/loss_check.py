"""Check an objective's loss for faults that training would hide: a sum, or separate weights."""

import logging
import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from ..objective import Objective
from .pytree import map_leaves

log = logging.getLogger("flwr.fsl_sage")

TOLERANCE = 0.01


def problem_with_loss(
    objective: Objective, output: Any, labels: Tensor, trained: Collection[nn.Parameter]
) -> str | None:
    """Return the problem with a loss that is no scalar, or that has separate weights.

    Parameters
    ----------
    objective : Objective
        Its loss is computed once.
    output : object
        The server half's output.
    labels : Tensor
        Valid labels of the same samples.
    trained : collection of nn.Parameter
        Parameters of the halves, which a loss may read: a penalty of the weights, for example.
    """
    with torch.enable_grad():
        value = objective.loss(map_leaves(output, Tensor, Tensor.detach), labels)
    if not isinstance(value, Tensor) or value.numel() != 1:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        return f"the loss is {shape}; a scalar is needed, the mean: reduction='mean'"
    known = {id(parameter) for parameter in trained}
    own = [leaf for leaf in _leaves_of_graph(value) if id(leaf) not in known]
    if not own:
        return None
    shapes = ", ".join(str(tuple(leaf.shape)) for leaf in own[:3])
    return (
        f"the loss has {len(own)} separate trainable weights (of shape {shapes}), which no "
        "optimizer of a half would train: make them parameters of the server half, which returns "
        "them or what it computes with them beside the scores, or freeze them"
    )


def problem_with_reduction(
    objective: Objective, server_half: nn.Module, smashed: tuple[Tensor, ...], labels: Tensor
) -> str | None:
    """Return the problem with a loss that grows with the number of samples.

    The same samples once and twice must have the same mean loss. A loss between the samples of
    a batch, such as a contrastive one, need not: that is a warning.

    Parameters
    ----------
    objective : Objective
        Its loss is computed twice.
    server_half : nn.Module
        In eval mode.
    smashed, labels
        At least two samples; half of them are used.
    """
    rows = slice(len(labels) // 2)
    once, of_once = tuple(tensor[rows] for tensor in smashed), labels[rows]
    twice, of_twice = tuple(torch.cat([t, t]) for t in once), torch.cat([of_once, of_once])
    try:
        with torch.no_grad():
            first = objective.mean_loss(server_half, once, of_once).item()
            second = objective.mean_loss(server_half, twice, of_twice).item()
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError, AssertionError):
        return None  # a half, or a loss, for batches of one size
    if math.isclose(first, second, rel_tol=TOLERANCE) or not math.isfinite(first + second):
        return None
    if math.isclose(2 * first, second, rel_tol=TOLERANCE):
        return (
            f"the loss of the same samples twice is {second:.4g}, and {first:.4g} once: it is a "
            "sum, and the mean is needed: reduction='mean', or divide by the number of labels "
            "that count"
        )
    log.warning(
        "the mean loss of the same samples twice is %.4g, and %.4g once: the samples of a batch "
        "have a common loss, so a batch of another size has another gradient per sample",
        second,
        first,
    )
    return None


def warn_of_more_scores(shape: tuple[int, ...], num_classes: int | None) -> None:
    """Warn of scores ``(B, C)`` of more classes than the labels have: one may be a mistake."""
    if num_classes is not None and len(shape) == 2 and shape[1] > num_classes:
        log.warning(
            "the server half gives %d scores per sample, and num_classes is %d: no label has the "
            "others; give SplitTask num_classes=%d if that is a mistake",
            shape[1],
            num_classes,
            shape[1],
        )


def _leaves_of_graph(value: Tensor) -> list[Tensor]:
    """Return the leaf tensors with a gradient that a value depends on."""
    if not value.requires_grad:
        return []
    if value.grad_fn is None:
        return [value]
    found: dict[int, Tensor] = {}
    seen, todo = set[Any](), [value.grad_fn]
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            found[id(leaf)] = leaf
        todo += [following for following, _ in node.next_functions if following is not None]
    return list(found.values())
