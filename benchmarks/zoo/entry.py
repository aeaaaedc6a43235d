"""Declare one model of the zoo: class with random weights, example, cuts to try."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fsl_sage_flwr.objective import Objective, classification, scores_of
from fsl_sage_flwr.splitting import Inputs, as_tensors
from fsl_sage_flwr.task import Batch, ClientIdentity


@dataclass(frozen=True)
class Entry:
    """A thin model, and where to cut it.

    Attributes
    ----------
    library, name : str
        Where the class is from, and the name in the table.
    make : callable
        Builds the model with random weights; torch is seeded before.
    example : callable
        Makes a batch of inputs, of at least two samples.
    cuts : tuple of str
        Cuts to try: early, in the middle, late.
    public : tuple of str
        Inputs that the server may see.
    scores : callable
        Reads the scores in the output.
    class_axis : int
        Axis of the classes in the scores: 1 for images, -1 for tokens.
    """

    library: str
    name: str
    make: Callable[[], nn.Module]
    example: Callable[[], Inputs]
    cuts: tuple[str, ...]
    public: tuple[str, ...] = ()
    scores: Callable[[Any], Tensor] = scores_of
    class_axis: int = 1

    def build(self) -> tuple[nn.Module, Inputs]:
        """Return the model and its example, equal in every call."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return self.make(), self.example()

    def scores_of_sample(self, output: Any) -> Tensor:
        """Return one row of scores per sample: the mean over pixels or tokens."""
        scores = output if isinstance(output, Tensor) else self.scores(output)
        axis = self.class_axis % scores.dim()
        others = [k for k in range(1, scores.dim()) if k != axis]
        return scores.mean(dim=others) if others else scores

    def objective(self, classes: int) -> Objective:
        """Return the classification of whole samples, whatever the model's scores are of."""
        fits = classification(classes)
        return replace(
            fits,
            read=self.scores_of_sample,
            loss=lambda output, labels: fits.loss(self.scores_of_sample(output), labels),
            scores=lambda output, labels: fits.scores(self.scores_of_sample(output), labels),
        )


def batches_like(example: Inputs, classes: int, client: ClientIdentity, seed: int) -> list[Batch]:
    """Return two batches with the example's samples in another order, and noise on its floats."""
    generator = torch.Generator().manual_seed(1000 * seed % 2**31 + client.partition_id)
    made: list[Batch] = []
    for _ in range(2):
        count = len(as_tensors(example)[0])
        order = torch.randperm(count, generator=generator)

        def like(tensor: Tensor, order: Tensor = order) -> Tensor:
            if len(tensor) != len(order):
                return tensor  # of the whole batch, such as an edge list
            if not tensor.is_floating_point():
                return tensor[order]
            noise = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
            return tensor[order] + 0.1 * noise

        inputs: Inputs
        if isinstance(example, Tensor):
            inputs = like(example)
        elif isinstance(example, Mapping):
            inputs = {name: like(tensor) for name, tensor in example.items()}
        else:
            inputs = tuple(like(tensor) for tensor in example)
        made.append((inputs, torch.randint(classes, (count,), generator=generator)))
    return made
