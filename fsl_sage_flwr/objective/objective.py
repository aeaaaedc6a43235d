"""Define a task's loss and scores, and find the scores in a model's output."""

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor, nn

Loss = Callable[[Any, Tensor], Tensor]
"""Maps (output, labels) of ``B`` samples to their mean loss, a scalar."""


def everywhere(module: nn.Module, labels: Tensor) -> AbstractContextManager[object]:
    """Return a context in which a module computes all its scores."""
    return nullcontext()


def unchanged(output: Any) -> Any:
    """Return an output as it is."""
    return output


# Names of the scores in a structure: of Transformers, and of torchvision's segmentation.
NAMES_OF_SCORES = ("logits", "out")
# Names that evaluations report beside the scores.
RESERVED = ("loss", "round", "num-examples")


class Score(NamedTuple):
    """A mean and its weight in averages.

    Attributes
    ----------
    value : float
        Mean over the scored items; NaN if there are none.
    weight : float
        Number of scored items: samples, pixels or tokens.
    """

    value: float
    weight: float

    @classmethod
    def mean(cls, scores: Iterable["Score"]) -> "Score":
        """Return the weighted mean of several scores."""
        parts = [part for part in scores if part.weight]
        weight = sum(part.weight for part in parts)
        return cls.of_total(sum(part.value * part.weight for part in parts), weight)

    @classmethod
    def of_total(cls, total: float, weight: float) -> "Score":
        """Return the score of a sum over ``weight`` items."""
        return cls(total / weight if weight else math.nan, weight)


Derived = Callable[[float, Mapping[str, Score]], float]
"""Computes a figure from the mean loss and the scores by name."""


@dataclass(frozen=True)
class Objective:
    """A task's loss, scores and valid labels.

    Labels are a tensor ``(B, …)`` of any shape and dtype: classes, label maps, numbers or token
    ids. :func:`classification`, :func:`multi_label`, :func:`segmentation` and :func:`regression`
    build the usual objectives.

    Attributes
    ----------
    loss : callable
        Maps the server half's output and labels to the mean loss over ``count`` items; at least 0.
    scores : callable
        Maps output and labels of a batch to the reported scores: for each name the sum over the
        scored items, and their number.
    score_names : tuple of str
        Names of the scores, in the order of reports.
    problem_with : callable
        Maps a client's labels to a one-line error, or None when they are valid.
    example_labels : callable
        Maps ``B`` to ``B`` valid labels.
    count : callable
        Maps labels to the divisor of the mean loss, which is also the batch's weight in averages:
        by default the number of samples, for a language model the number of learned tokens.
    test_loss : callable, optional
        Loss that evaluations report if it differs from the training loss, for example without
        label smoothing.
    derived : Mapping
        More reported figures by name, each a function of the reported loss and all scores: a
        perplexity, for example, or the mean of several scores.
    where : callable
        Maps a module that computes scores, and the labels of a batch, to a context in which the
        module may leave out scores without a label; loss and scores then get the shorter output.
        By default nothing is left out.
    read : callable
        Maps an output to what ``loss`` and ``scores`` read of it, as :meth:`reading` has set it.
    """

    loss: Loss
    scores: Callable[[Any, Tensor], Mapping[str, tuple[float, float]]]
    score_names: tuple[str, ...]
    problem_with: Callable[[Tensor], str | None]
    example_labels: Callable[[int], Tensor]
    count: Callable[[Tensor], int] = len
    test_loss: Loss | None = None
    derived: Mapping[str, Derived] = field(default_factory=dict)
    where: Callable[[nn.Module, Tensor], AbstractContextManager[object]] = everywhere
    read: Callable[[Any], Any] = unchanged

    def __post_init__(self) -> None:
        names = (*self.score_names, *self.derived)
        taken = [name for name in names if name in RESERVED or names.count(name) > 1]
        if taken:
            raise ValueError(f"the score {taken[0]!r} has a reserved name; choose another")

    def reading(self, pick: Callable[[Any], Any]) -> "Objective":
        """Return this objective for a model that returns more than the scores.

        Parameters
        ----------
        pick : callable
            Maps the server half's output to the part that loss and scores read:
            ``lambda output: output[1]``. A tensor, such as an auxiliary head's, is read as it is.
        """

        def read(output: Any) -> Any:
            return output if isinstance(output, Tensor) else pick(output)

        test_loss = self.test_loss
        return replace(
            self,
            read=read,
            loss=lambda output, labels: self.loss(read(output), labels),
            scores=lambda output, labels: self.scores(read(output), labels),
            test_loss=test_loss and (lambda output, labels: test_loss(read(output), labels)),
        )

    def reported_loss(self, output: Any, labels: Tensor) -> float:
        """Return the mean loss for evaluation reports."""
        loss = self.test_loss or self.loss
        return loss(output, labels).item()

    def output_of(self, module: nn.Module, inputs: tuple[Tensor, ...], labels: Tensor) -> Any:
        """Return a module's output for inputs with known labels."""
        with self.where(module, labels):
            return module(*inputs)

    def mean_loss(self, module: nn.Module, inputs: tuple[Tensor, ...], labels: Tensor) -> Tensor:
        """Return a module's mean loss, a scalar."""
        return self.loss(self.output_of(module, inputs, labels), labels)

    def total_loss(self, output: Any, labels: Tensor) -> Tensor:
        """Return the sum of the losses of all counted items, a scalar."""
        return self.loss(output, labels) * self.count(labels)

    def figures(self, loss: float, scores: Mapping[str, Score]) -> dict[str, float]:
        """Return all reported figures besides the loss, by name."""
        found = {name: score.value for name, score in scores.items()}
        return found | {name: of(loss, scores) for name, of in self.derived.items()}

    def scored(self, output: Any, labels: Tensor) -> dict[str, tuple[float, float]]:
        """Return a batch's scores as pairs of numbers: sum and number of items.

        Raises
        ------
        ValueError
            The names differ from ``score_names``.
        """
        found = self.scores(output, labels)
        if set(found) != set(self.score_names):
            raise ValueError(
                f"the objective's scores are {', '.join(found) or 'none'}, and its score_names "
                f"{', '.join(self.score_names) or 'none'}; both must be the same"
            )
        return {name: (float(total), float(weight)) for name, (total, weight) in found.items()}


def scores_of(output: Any) -> Tensor:
    """Return the scores in a model's output, where there is no choice.

    Parameters
    ----------
    output : Tensor, mapping, dataclass or sequence
        A tensor, the tensor named ``logits`` or ``out``, or the only floating-point tensor with an
        axis.

    Raises
    ------
    TypeError
        The output contains no tensor, or several of which none has such a name.
    """
    if isinstance(output, Tensor):
        return output
    named = _named(output)
    for name in NAMES_OF_SCORES:
        value = named.get(name)
        if isinstance(value, Tensor):
            return value
    found = {
        key: tensor
        for key, tensor in named.items()
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.dim()
    }
    if len(found) > 1:
        shapes = ", ".join(f"{key!r} {tuple(tensor.shape)}" for key, tensor in found.items())
        raise TypeError(
            f"the model returns several tensors ({shapes}) and none is named 'logits'; name the "
            f"scores by objective=….reading(lambda output: output[{next(iter(found))!r}])"
        )
    return next(iter(found.values())) if found else logits_of(output)


def _named(output: Any) -> dict[Any, Any]:
    """Return the values in a model's output by name, or by place in a sequence."""
    if isinstance(output, Mapping):
        return dict(output)
    if is_dataclass(output) and not isinstance(output, type):
        return {field.name: getattr(output, field.name) for field in fields(output)}
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return dict(zip(output._fields, output, strict=True))
    return dict(enumerate(output)) if isinstance(output, list | tuple) else {}


def logits_of(output: Any) -> Tensor:
    """Return the first scores in a model's output, whatever else it returns.

    A loss must not guess: :func:`scores_of`.

    Parameters
    ----------
    output : Tensor, mapping, dataclass or sequence
        The scores are a tensor itself, the ``logits`` of a mapping or dataclass or else its first
        tensor, and the first tensor of a sequence.

    Raises
    ------
    TypeError
        The output contains no tensor.
    """
    if isinstance(output, Tensor):
        return output
    named = _named(output)
    first = [value for value in named.values() if isinstance(value, Tensor)]
    logits = named.get("logits", first[0] if first else None)
    if not isinstance(logits, Tensor):
        raise TypeError(
            f"the model returns {type(output).__name__} without a tensor of scores; give the task "
            "an objective whose loss and scores read it"
        )
    return logits


def in_full(scores: Tensor) -> Tensor:
    """Return scores with a loss in at least float32: 16-bit ones as float32, others unchanged."""
    return scores.float() if scores.is_floating_point() and scores.itemsize < 4 else scores


def as_float(output: Any) -> Any:
    """Return a tensor of scores in at least float32, any other output unchanged."""
    return in_full(output) if isinstance(output, Tensor) else output
