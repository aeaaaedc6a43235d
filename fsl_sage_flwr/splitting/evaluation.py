"""Loss and scores of a model or of its server half."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..objective import Objective, Score, as_float
from .inputs import Inputs, as_tensors
from .steps import Autocast


@dataclass(frozen=True)
class Evaluation:
    """Results on held-out examples.

    Attributes
    ----------
    loss : float
        Mean loss over the examples.
    num_examples : int
        Number of evaluated items, as the objective counts them: examples or tokens.
    scores : Mapping
        The objective's scores, by name.
    """

    loss: float
    num_examples: int
    scores: Mapping[str, Score]

    @property
    def accuracy(self) -> float:
        """Top-1 accuracy, 0 to 1, if the objective reports it."""
        return self.scores["accuracy"].value

    @classmethod
    def mean(cls, parts: Sequence["Evaluation"]) -> "Evaluation":
        """Return the pooled results of several evaluations."""
        loss = Score.mean(Score(part.loss, part.num_examples) for part in parts)
        names = dict.fromkeys(name for part in parts for name in part.scores)
        scores = {name: Score.mean(part.scores[name] for part in parts) for name in names}
        return cls(loss.value, sum(part.num_examples for part in parts), scores)


def evaluate(
    parts: Sequence[nn.Module],
    batches: Iterable[tuple[Inputs, Tensor]],
    objective: Objective,
    autocast: Autocast,
) -> Evaluation:
    """Evaluate modules in sequence, in eval mode and without gradients.

    Parameters
    ----------
    parts : sequence of nn.Module
        Client half and server half, or only the server half for smashed data. All are set to
        training mode afterwards, even after an error.
    batches : iterable
        ``(inputs, labels)``; the inputs are one tensor or several.
    objective : Objective
        Computes the loss and the scores.
    autocast : callable
        Returns the context of a forward pass.

    Raises
    ------
    ValueError
        There are no batches.

    Notes
    -----
    The loss is NaN if no label counts; a score is NaN if it has nothing to count.
    """
    for part in parts:
        part.eval()
    total_loss, count, found_any = 0.0, 0, False
    totals = dict.fromkeys(objective.score_names, (0.0, 0.0))
    try:
        with torch.no_grad():
            for inputs, labels in batches:
                found_any = True
                output: object = as_tensors(inputs)
                with autocast(), objective.where(parts[-1], labels):
                    for part in parts:
                        output = part(*as_tensors(output))  # type: ignore[arg-type]
                output, size = as_float(output), objective.count(labels)
                total_loss += objective.reported_loss(output, labels) * size
                for name, (total, weight) in objective.scored(output, labels).items():
                    before = totals[name]
                    totals[name] = before[0] + total, before[1] + weight
                count += size
    finally:
        for part in parts:
            part.train()
    if not found_any:
        raise ValueError(
            "there are no batches to evaluate on: a generator can be read once, and rounds after "
            "the first find it empty; give a function that makes new batches at every call"
        )
    scores = {name: Score.of_total(total, weight) for name, (total, weight) in totals.items()}
    return Evaluation(total_loss / count if count else math.nan, count, scores)
