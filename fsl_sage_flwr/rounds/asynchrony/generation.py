"""Smashed data drawn from a distribution of each label, which complete the server's batches."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...splitting.layout import laid_out
from ...task import SplitTask
from .options import AsyncOptions

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class Moments:
    """Weighted mean and variance of each value of a label's smashed data.

    Attributes
    ----------
    weight : float
        Sum of the samples' weights.
    means, variances : tuple of Tensor
        Of each smashed tensor, without the axis of samples; float64.
    """

    weight: float
    means: Tensors
    variances: Tensors

    def with_samples(self, samples: Tensors, weight: float) -> "Moments":
        """Return the moments with more samples, each of a weight.

        For one sample these are GAS's equations 11 and 12 (arXiv 2409.01251), with the diagonal of
        the covariance; for several the same as for one after the other.
        """
        added = weight * len(samples[0])
        total = self.weight + added
        means, variances = list[Tensor](), list[Tensor]()
        for mean, variance, rows in zip(self.means, self.variances, samples, strict=True):
            theirs, spread = rows.double().mean(0), rows.double().var(0, correction=0)
            new = mean + added / total * (theirs - mean)
            old = self.weight * (variance + (new - mean).square())
            variances.append((old + added * (spread + (new - theirs).square())) / total)
            means.append(new)
        return Moments(total, tuple(means), tuple(variances))


class SmashedGenerator:
    """Completes the server's batches with smashed data of labels that they have few samples of.

    GAS: Generative Activation-Aided Asynchronous Split Federated Learning (Yang and Liu, AAAI
    2025, arXiv 2409.01251). The smashed data of each label are a normal distribution, whose moments
    weight a sample by its age: ``s(n) = n``, where n counts the rounds up to the request that the
    sample answers. Values are drawn independently: a covariance has as many entries as the square
    of their number. The paper's logit adjustment is of gradients that go back to the clients, and
    has no place here.

    Parameters
    ----------
    least : int
        Samples of each known label in a batch, at least. From the size of a batch on all labels
        have equally many, as in the paper.
    """

    def __init__(self, least: int) -> None:
        self._least = least
        self._moments: dict[int, Moments] = {}

    def add(self, batches: Iterable[tuple[Tensors, Tensor]], round_: int) -> None:
        """Add an upload to the moments of its labels.

        Parameters
        ----------
        batches : iterable
            Smashed tensors and labels, on the CPU.
        round_ : int
            Number of the round, from 0, whose request the upload answers.
        """
        for tensors, labels in batches:
            for label in sorted(set(labels.tolist())):
                samples = tuple(tensor[labels == label] for tensor in tensors)
                known = self._moments.get(label) or _nothing(tensors)
                self._moments[label] = known.with_samples(samples, weight=round_ + 1.0)

    def completed(self, tensors: Tensors, labels: Tensor) -> tuple[Tensors, Tensor]:
        """Return a batch with drawn samples behind its own, labels ascending.

        torch's global generator of the CPU draws them. They are finite, as the samples that their
        moments are of: an infinite one would be blamed on the client whose batch it completes.
        """
        columns = [[tensor] for tensor in tensors]
        all_labels = [labels]
        for label, known in sorted(self._moments.items()):
            missing = self._least - int((labels == label).sum())
            if missing <= 0:
                continue
            all_labels.append(labels.new_full((missing,), label))
            for column, mean, variance in zip(columns, known.means, known.variances, strict=True):
                noise = torch.randn((missing, *mean.shape), dtype=mean.dtype)
                most = torch.finfo(column[0].dtype).max
                drawn = (mean + variance.sqrt() * noise).clamp(-most, most)
                column.append(drawn.to(column[0].dtype))
        whole = tuple(laid_out(torch.cat(column), column[0]) for column in columns)
        return whole, torch.cat(all_labels)

    def state_dict(self) -> dict[str, Any]:
        """Return the moments by label."""
        return {
            str(label): {
                "weight": known.weight,
                "means": _by_place(known.means),
                "variances": _by_place(known.variances),
            }
            for label, known in self._moments.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the moments."""
        self._moments = {
            int(label): Moments(
                float(known["weight"]),
                tuple(known["means"].values()),
                tuple(known["variances"].values()),
            )
            for label, known in state.items()
        }


def generator_of(task: SplitTask, options: AsyncOptions | None) -> SmashedGenerator | None:
    """Return the generator of the server's missing samples; None without ``async.generate``.

    Raises
    ------
    ValueError
        The task's smashed data or labels have no distribution per label.
    """
    if options is None or not options.buffer or not options.generate:
        return None
    example, labels = task.smashed_example(), task.objective.example_labels(2)
    given = f"async.generate = {options.generate}"
    if labels.dim() != 1 or labels.is_floating_point():
        raise ValueError(f"{given}: each sample needs one class as its label; set it to 0")
    if task.model.free or not all(tensor.is_floating_point() for tensor in example):
        raise ValueError(
            f"{given}: smashed data of several sizes, and integers or booleans among them, cannot "
            "be drawn; set it to 0, or choose another cut"
        )
    return SmashedGenerator(options.generate)


def _by_place(tensors: Tensors) -> dict[str, Tensor]:
    """Return tensors in a form that a round's copies of states take their memory from."""
    return {str(place): tensor for place, tensor in enumerate(tensors)}


def _nothing(tensors: Tensors) -> Moments:
    zeros = tuple(torch.zeros(tensor.shape[1:], dtype=torch.float64) for tensor in tensors)
    return Moments(0.0, zeros, zeros)
