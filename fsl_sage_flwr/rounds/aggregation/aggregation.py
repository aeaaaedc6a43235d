"""Aggregate clients' results: by their mean, or by a rule that a few clients cannot move."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray
from torch import Tensor

from ...config import Options, check_arguments, setting
from ...messages.records import sendable
from .averaging import as_dtype, average
from .choice import Trained, closest, squared_distances

Values = NDArray[Any]
Combine = Callable[["Aggregation", Values], Values]
"""From the settings and the values of ``n`` clients, ``(n, …)``, to one, ``(…)``."""


@dataclass(frozen=True)
class Rule:
    """A way to aggregate.

    Attributes
    ----------
    combine : callable or None
        Combines one array of all clients that are chosen; None is their weighted mean.
    fewest : callable
        From the number of malicious clients to the smallest number of replies.
    chosen : callable, optional
        From the numbers of replies and of malicious clients to the number of replies that are
        chosen by the distances between their updates; by default all replies are averaged.
    keys : tuple of str
        The run configuration's keys for aggregation that it depends on.
    """

    combine: Combine | None
    fewest: Callable[[int], int] = lambda malicious: 1
    chosen: Callable[[int, int], int] | None = None
    keys: tuple[str, ...] = ()


def _median(of: "Aggregation", values: Values) -> Values:
    return np.asarray(np.median(values, axis=0))


def _trimmed_mean(of: "Aggregation", values: Values) -> Values:
    """Average, value by value, all but a share at either end."""
    cut = int(of.trimmed_share * len(values))
    left = len(values) - cut
    return np.asarray(np.partition(values, (cut, left - 1), axis=0)[cut:left].mean(axis=0))


def _mean_around_median(of: "Aggregation", values: Values) -> Values:
    """Average, value by value, all but the 2f that are farthest from the median (Bulyan)."""
    kept = len(values) - 2 * of.assumed_malicious
    far = np.abs(values - np.median(values, axis=0))
    nearest = np.argpartition(far, kept - 1, axis=0)[:kept]
    return np.asarray(np.take_along_axis(values, nearest, axis=0).mean(axis=0))


MEAN = "mean"
MALICIOUS = ("robust.assumed-malicious",)

RULES: dict[str, Rule] = {
    MEAN: Rule(None),
    "median": Rule(_median),
    "trimmed_mean": Rule(_trimmed_mean, keys=("robust.trimmed-share",)),
    # Blanchard et al., NeurIPS 2017, and El Mhamdi et al., ICML 2018: fewer prove nothing.
    "krum": Rule(None, lambda f: 2 * f + 3, lambda replies, f: 1, MALICIOUS),
    "multi_krum": Rule(None, lambda f: 2 * f + 3, lambda replies, f: replies - f, MALICIOUS),
    "bulyan": Rule(
        _mean_around_median, lambda f: 4 * f + 3, lambda replies, f: replies - 2 * f, MALICIOUS
    ),
}


@dataclass(frozen=True)
class RobustOptions(Options):
    """Settings of the aggregation."""

    aggregation: str = setting(
        MEAN,
        "rule that aggregates client halves, heads, and the server halves of clients",
        group="robust",
        formerly=("aggregation",),
        choices=RULES,
    )
    trimmed_share: float = setting(
        0.2,
        "fraction of the values that `trimmed_mean` cuts off at either end",
        group="robust",
        formerly=("trimmed-share",),
        ge=0,
        le=0.49,
    )
    assumed_malicious: int = setting(
        1,
        "malicious clients that `krum`, `multi_krum` and `bulyan` expect in a round",
        group="robust",
        formerly=("malicious-clients",),
        ge=0,
        unit="clients",
    )

    def unused(self) -> dict[str, str]:
        """Return the keys that the rule does not depend on."""
        rule = RULES.get(self.aggregation)
        if rule is None:
            return {}
        unused = {"robust.trimmed-share", *MALICIOUS} - set(rule.keys)
        return dict.fromkeys(sorted(unused), "robust.aggregation")

    def aggregated_by(self) -> "Aggregation":
        """Return the aggregation."""
        return Aggregation(self.aggregation, self.trimmed_share, self.assumed_malicious)


@dataclass(frozen=True)
class Aggregation:
    """Aggregates client halves, heads, and SplitFed V1's server halves.

    Mean, median and trimmed mean are computed as Flower's strategies do, with the same bits.
    Krum, Multi-Krum and Bulyan choose clients once a round, by distances over everything that is
    averaged together: Flower's own measure integer counters too, in float32.

    Attributes
    ----------
    rule : str
        A name in ``RULES``. All but ``mean``, ``krum`` and ``multi_krum`` weigh clients alike.
    trimmed_share : float
        Share of the values that ``trimmed_mean`` drops at either end.
    assumed_malicious : int
        Number of malicious clients in a round that ``krum``, ``multi_krum`` and ``bulyan`` bear.

    Raises
    ------
    ValueError
        The rule is not known, or a number is out of its range.
    """

    rule: str = RobustOptions.aggregation
    trimmed_share: float = RobustOptions.trimmed_share
    assumed_malicious: int = RobustOptions.assumed_malicious

    def __post_init__(self) -> None:
        check_arguments(
            RobustOptions,
            aggregation=self.rule,
            trimmed_share=self.trimmed_share,
            assumed_malicious=self.assumed_malicious,
        )

    @property
    def fewest(self) -> int:
        """Smallest number of replies of a round that counts."""
        return RULES[self.rule].fewest(self.assumed_malicious)

    @property
    def chooses(self) -> bool:
        """Whether the rule averages only clients that it chooses."""
        return RULES[self.rule].chosen is not None

    def choose(self, trained: Mapping[int, Trained]) -> list[int]:
        """Return the clients whose results are averaged, in the order given.

        Parameters
        ----------
        trained : Mapping
            Results of at least ``fewest`` clients, of each all that is averaged.
        """
        clients, chosen = list(trained), RULES[self.rule].chosen
        if chosen is None:
            return clients
        wanted = chosen(len(clients), self.assumed_malicious)
        distances = squared_distances(list(trained.values()))
        return [clients[place] for place in closest(distances, self.assumed_malicious, wanted)]

    def of_records(self, records: Sequence[ArrayRecord], weights: Sequence[float]) -> ArrayRecord:
        """Aggregate records of the same arrays; integers stay integers.

        Parameters
        ----------
        records : sequence of ArrayRecord
            Of the clients that :meth:`choose` returns; they are left as they are.
        weights : sequence of float
            Of each one.
        """
        if RULES[self.rule].combine is None:
            states = (record.to_torch_state_dict() for record in records)
            return ArrayRecord(average(states, weights))
        found = ArrayRecord()
        for name in records[0]:
            found[name] = Array(self._combined([record[name].numpy() for record in records]))
        return found

    def of_states(
        self, states: Iterable[Mapping[str, Tensor]], weights: Sequence[float]
    ) -> dict[str, Tensor]:
        """Aggregate state_dicts; for a mean one is in memory at a time."""
        if RULES[self.rule].combine is None:
            return average(states, weights)
        every = list(states)
        return {
            name: torch.from_numpy(
                self._combined([sendable(state[name].detach()).cpu().numpy() for state in every])
            )
            for name in every[0]
        }

    def _combined(self, arrays: Sequence[Values]) -> Values:
        combine = RULES[self.rule].combine
        if combine is None:
            raise ValueError(f"aggregation = {self.rule!r} is a weighted mean")
        if all(np.array_equal(arrays[0], other) for other in arrays[1:]):
            return np.array(arrays[0])  # a mean of equal values is rounded
        return as_dtype(combine(self, np.stack(arrays)), arrays[0].dtype)
