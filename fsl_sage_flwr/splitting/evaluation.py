"""Loss and accuracy of a model, or of the half that ends one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .gradients import Loss
from .split_model import as_tensors
from .steps import Autocast


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
    parts: Sequence[nn.Module],
    batches: Iterable[tuple[Tensor | tuple[Tensor, ...], Tensor]],
    loss: Loss,
    autocast: Autocast,
) -> Evaluation:
    """Evaluate modules, one after the other, in eval mode and without gradients.

    Parameters
    ----------
    parts : sequence of nn.Module
        Client half and server half; or the server half alone, on smashed data. They are in
        training mode afterwards.
    batches : iterable
        ``(inputs, labels)``, the inputs one tensor or several.
    loss : callable
        Mean loss of (scores, labels), scores ``(B, num_classes)``.
    autocast : callable
        Context of a forward pass.
    """
    for part in parts:
        part.eval()
    total_loss, correct, count = 0.0, 0, 0
    with torch.no_grad():
        for inputs, labels in batches:
            tensors = as_tensors(inputs)
            with autocast():
                for part in parts:
                    tensors = as_tensors(part(*tensors))
            scores = tensors[0].float()
            total_loss += loss(scores, labels).item() * len(labels)
            correct += int((scores.argmax(dim=1) == labels).sum())
            count += len(labels)
    for part in parts:
        part.train()
    return Evaluation(total_loss / max(count, 1), correct / max(count, 1), count)
