"""Loss and accuracy of a model, or of the half that ends one."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .gradients import Loss


@dataclass(frozen=True)
class Evaluation:
    """Results on examples that were not trained on, means over them.

    Attributes
    ----------
    loss : float
        Mean loss.
    accuracy : float
        Share of examples whose highest score is their label's, 0 to 1.
    num_examples : int
        How many there were.
    """

    loss: float
    accuracy: float
    num_examples: int

    @classmethod
    def mean(cls, parts: Sequence["Evaluation"]) -> "Evaluation":
        """Return the results on all examples of several evaluations together."""
        count = sum(part.num_examples for part in parts)
        return cls(
            sum(part.loss * part.num_examples for part in parts) / max(count, 1),
            sum(part.accuracy * part.num_examples for part in parts) / max(count, 1),
            count,
        )


def evaluate(
    model: Callable[[tuple[Tensor, ...]], Tensor],
    batches: Iterable[tuple[tuple[Tensor, ...], Tensor]],
    loss: Loss,
) -> Evaluation:
    """Evaluate on batches, without gradients; the caller sets the model's mode.

    Parameters
    ----------
    model : callable
        From inputs, or from smashed data, to scores ``(B, num_classes)``.
    batches : iterable
        ``(tensors, labels)``.
    loss : callable
        Mean loss of (scores, labels).
    """
    total_loss, correct, count = 0.0, 0, 0
    with torch.no_grad():
        for tensors, labels in batches:
            scores = model(tensors).float()
            total_loss += loss(scores, labels).item() * len(labels)
            correct += int((scores.argmax(dim=1) == labels).sum())
            count += len(labels)
    return Evaluation(total_loss / max(count, 1), correct / max(count, 1), count)
