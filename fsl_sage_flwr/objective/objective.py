"""What a task is about, and the scores in a model's output."""

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

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
        Mean over what was scored; NaN where that is nothing.
    weight : float
        How much was scored: samples, pixels, tokens.
    """

    value: float
    weight: float

    @classmethod
    def mean(cls, scores: Iterable["Score"]) -> "Score":
        """Return the score of all that was scored in several parts."""
        parts = [part for part in scores if part.weight]
        weight = sum(part.weight for part in parts)
        return cls.of_total(sum(part.value * part.weight for part in parts), weight)

    @classmethod
    def of_total(cls, total: float, weight: float) -> "Score":
        """Return the score of a sum over what was scored."""
        return cls(total / weight if weight else math.nan, weight)


Derived = Callable[[float, Mapping[str, Score]], float]
"""From the mean loss and the scores, by name, to a figure."""


@dataclass(frozen=True)
class Objective:
    """What a task is about.

    Labels are a tensor ``(B, …)`` of any shape and dtype: classes, label maps, numbers, token
    ids. :func:`classification`, :func:`multi_label`, :func:`segmentation` and :func:`regression`
    make the usual objectives.

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
    derived : Mapping
        More figures to report, by name: each a function of the reported loss and of all scores,
        for example a perplexity, or the mean of several scores.
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
    derived: Mapping[str, Derived] = field(default_factory=dict)
    where: Callable[[nn.Module, Tensor], AbstractContextManager[object]] = everywhere

    def __post_init__(self) -> None:
        names = (*self.score_names, *self.derived)
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

    def figures(self, loss: float, scores: Mapping[str, Score]) -> dict[str, float]:
        """Return all that is reported beside the loss, by name."""
        found = {name: score.value for name, score in scores.items()}
        return found | {name: of(loss, scores) for name, of in self.derived.items()}

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
