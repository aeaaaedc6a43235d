"""What is learnt: the loss, the scores that are reported, and which labels are valid."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Loss = Callable[[Any, Tensor], Tensor]
"""From (output, labels) of ``B`` samples to their mean loss, a scalar."""


def everywhere(module: nn.Module, labels: Tensor) -> AbstractContextManager[object]:
    """Return a context in which a module gives all of its scores."""
    return nullcontext()


# What evaluations report beside the scores.
RESERVED = ("loss", "round", "num-examples")


class Score(NamedTuple):
    """A figure and what it counts for when several are put together.

    Attributes
    ----------
    value : float
        Mean over what was scored.
    weight : float
        How much was scored: samples, pixels, tokens.
    """

    value: float
    weight: float

    @classmethod
    def mean(cls, scores: Iterable["Score"]) -> "Score":
        """Return the score of all that was scored in several parts."""
        parts = list(scores)
        weight = sum(part.weight for part in parts)
        total = sum(part.value * part.weight for part in parts)
        return cls(total / weight if weight else 0.0, weight)


@dataclass(frozen=True)
class Objective:
    """What a task is about.

    Labels are a tensor ``(B, …)`` of any shape and dtype: classes, label maps, numbers, token
    ids. :func:`classification` and :func:`regression` make the usual objectives.

    Attributes
    ----------
    loss : callable
        From the server half's output and labels to the mean loss over what ``count`` counts;
        at least 0.
    scores : callable
        From output and labels of a batch to what is reported beside the loss: for each name the
        sum over what was scored and how much that was.
    score_names : tuple of str
        The names, in the order in which they are reported.
    problem_with : callable
        From labels that a client sent to what is wrong with them, in one line; None when they
        are valid.
    example_labels : callable
        From a number of samples to so many valid labels.
    count : callable
        From labels to how much the mean loss over them is a mean of, and how much they weigh
        in averages: by default the samples; for a language model the tokens that count.
    test_loss : callable, optional
        The loss that evaluations report where it is another than the one that is trained on,
        without label smoothing for example.
    exponential : str
        The name under which e to the power of a reported loss is reported too, for example
        ``perplexity``; empty: it is not.
    where : callable
        From a module that gives scores and the labels of a batch to a context, in which the module
        may leave out scores that no label asks for; loss and scores then get that shorter output.
        By default nothing is left out.
    """

    loss: Loss
    scores: Callable[[Any, Tensor], Mapping[str, tuple[float, float]]]
    score_names: tuple[str, ...]
    problem_with: Callable[[Tensor], str | None]
    example_labels: Callable[[int], Tensor]
    count: Callable[[Tensor], int] = len
    test_loss: Loss | None = None
    exponential: str = ""
    where: Callable[[nn.Module, Tensor], AbstractContextManager[object]] = everywhere

    def __post_init__(self) -> None:
        names = (*self.score_names, self.exponential)
        taken = [name for name in names if name in RESERVED or names.count(name) > 1]
        if taken:
            raise ValueError(f"the score {taken[0]!r} has a name that is taken; choose another")

    def reported_loss(self, output: Any, labels: Tensor) -> float:
        """Return the mean loss that evaluations report."""
        loss = self.test_loss or self.loss
        return loss(output, labels).item()

    def output_of(self, module: nn.Module, inputs: tuple[Tensor, ...], labels: Tensor) -> Any:
        """Return what a module gives for inputs whose labels are known."""
        with self.where(module, labels):
            return module(*inputs)

    def mean_loss(self, module: nn.Module, inputs: tuple[Tensor, ...], labels: Tensor) -> Tensor:
        """Return the mean loss of a module, a scalar."""
        return self.loss(self.output_of(module, inputs, labels), labels)

    def total_loss(self, output: Any, labels: Tensor) -> Tensor:
        """Return the sum of the losses of all that counts, a scalar."""
        return self.loss(output, labels) * self.count(labels)

    def scored(self, output: Any, labels: Tensor) -> dict[str, tuple[float, float]]:
        """Return the scores of a batch as numbers: sums, and what they count for.

        Raises
        ------
        ValueError
            The scores are not those that ``score_names`` lists.
        """
        found = self.scores(output, labels)
        if set(found) != set(self.score_names):
            raise ValueError(
                f"the objective's scores are {', '.join(found) or 'none'}, and its score_names "
                f"{', '.join(self.score_names) or 'none'}; both must be the same"
            )
        return {name: (float(total), float(weight)) for name, (total, weight) in found.items()}


def classification(
    num_classes: int, loss: Loss | None = None, *, label_shape: tuple[int, ...] = ()
) -> Objective:
    """Return the objective of choosing one of several classes.

    Parameters
    ----------
    num_classes : int
        Labels are in ``range(num_classes)``.
    loss : callable, optional
        Mean loss of (output, labels); by default the cross-entropy of :func:`logits_of`.
    label_shape : tuple of int
        Of one sample's labels: empty for one class, ``(H, W)`` for a label map, ``(T,)`` for
        a sequence. Scores are then ``(B, num_classes, H, W)``, as ``cross_entropy`` wants them.

    Returns
    -------
    Objective
        Reports ``accuracy``, the share of labels that have the highest score.
    """

    def cross_entropy(output: Any, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits_of(output), labels)

    def scores(output: Any, labels: Tensor) -> Mapping[str, tuple[float, float]]:
        right = (logits_of(output).argmax(dim=1) == labels).sum()
        return {"accuracy": (int(right), labels.numel())}

    def problem_with(labels: Tensor) -> str | None:
        if labels.dtype != torch.int64 or tuple(labels.shape[1:]) != label_shape:
            wanted = "one int64 vector" if not label_shape else f"int64 {('N', *label_shape)}"
            return f"labels must be {wanted}, not {labels.dtype} {tuple(labels.shape)}"
        if not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
            return (
                f"labels run from {int(labels.min())} to {int(labels.max())}; "
                f"valid are 0 to {num_classes - 1}"
            )
        return None

    def example_labels(count: int) -> Tensor:
        return torch.zeros(count, *label_shape, dtype=torch.int64)

    return Objective(loss or cross_entropy, scores, ("accuracy",), problem_with, example_labels)


def regression(label_shape: tuple[int, ...] = (), loss: Loss | None = None) -> Objective:
    """Return the objective of predicting numbers.

    Parameters
    ----------
    label_shape : tuple of int
        Of one sample's labels, float32; the output has as many values.
    loss : callable, optional
        Mean loss of (output, labels); by default the mean squared error.

    Returns
    -------
    Objective
        Reports ``mean_absolute_error``.
    """

    def squared_error(output: Any, labels: Tensor) -> Tensor:
        return F.mse_loss(logits_of(output).reshape(labels.shape), labels)

    def scores(output: Any, labels: Tensor) -> Mapping[str, tuple[float, float]]:
        distance = (logits_of(output).reshape(labels.shape) - labels).abs().sum()
        return {"mean_absolute_error": (float(distance), labels.numel())}

    def problem_with(labels: Tensor) -> str | None:
        if labels.dtype != torch.float32 or tuple(labels.shape[1:]) != label_shape:
            return (
                f"labels must be float32 {('N', *label_shape)}, not {labels.dtype} "
                f"{tuple(labels.shape)}"
            )
        return None if bool(torch.isfinite(labels).all()) else "labels hold NaN or infinite values"

    def example_labels(count: int) -> Tensor:
        return torch.zeros(count, *label_shape)

    name = ("mean_absolute_error",)
    return Objective(loss or squared_error, scores, name, problem_with, example_labels)


def logits_of(output: Any) -> Tensor:
    """Return the scores in a model's output.

    Parameters
    ----------
    output : Tensor, mapping, dataclass or sequence
        A tensor is itself; of a mapping or a dataclass it is ``logits``, or else its first
        tensor; of a sequence its first tensor.

    Raises
    ------
    TypeError
        There is no tensor in it.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        named = dict(output)
    elif is_dataclass(output) and not isinstance(output, type):
        named = {field.name: getattr(output, field.name) for field in fields(output)}
    else:
        named = dict(enumerate(output)) if isinstance(output, list | tuple) else {}
    first = [value for value in named.values() if isinstance(value, Tensor)]
    logits = named.get("logits", first[0] if first else None)
    if not isinstance(logits, Tensor):
        raise TypeError(
            f"the model returns {type(output).__name__} without a tensor of scores; give the task "
            "an objective whose loss and scores read it"
        )
    return logits


def as_float(output: Any) -> Any:
    """Return a tensor of scores as float32; anything else as it is."""
    return output.float() if isinstance(output, Tensor) else output
