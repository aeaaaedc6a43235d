"""How what several clients trained becomes one: the mean, or an average that a few cannot move."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg, FedMedian, FedTrimmedAvg
from torch import Tensor

from ...config import Options, check_arguments, setting
from ...messages import message_outside_a_run
from .averaging import average, with_dtypes_of
from .choice import Trained, closest, squared_distances

WEIGHT = "weight"

Average = Callable[["Aggregation", Sequence[ArrayRecord], Sequence[float]], ArrayRecord]


@dataclass(frozen=True)
class Rule:
    """A way to aggregate.

    Attributes
    ----------
    average : callable
        From the settings, the records of the clients that are chosen, and their weights to one
        record.
    fewest : callable
        From the number of malicious clients to the fewest replies that it is meant for.
    chosen : callable, optional
        From the numbers of replies and of malicious clients to how many replies are chosen by
        the distances between their updates; by default all replies are averaged.
    keys : tuple of str
        Those of the run configuration's keys for aggregation that it depends on.
    """

    average: Average
    fewest: Callable[[int], int] = lambda malicious: 1
    chosen: Callable[[int, int], int] | None = None
    keys: tuple[str, ...] = ()


def _by(strategy: Callable[["Aggregation"], FedAvg]) -> Average:
    """Return the average that a strategy of Flower's computes."""

    def average(
        of: "Aggregation", records: Sequence[ArrayRecord], weights: Sequence[float]
    ) -> ArrayRecord:
        messages = [
            message_outside_a_run(
                RecordDict({"arrays": record.copy(), "metrics": MetricRecord({WEIGHT: weight})}),
                node=0,
                kind="train",
                ttl=0.0,
            )
            for record, weight in zip(records, weights, strict=True)
        ]
        found, _ = strategy(of).aggregate_train(0, messages)
        if found is None:
            raise RuntimeError(f"aggregation = {of.rule!r} of {len(records)} replies gave none")
        return found

    return average


_mean = _by(lambda of: FedAvg(weighted_by_key=WEIGHT))
_median = _by(lambda of: FedMedian(weighted_by_key=WEIGHT))
_trimmed_mean = _by(lambda of: FedTrimmedAvg(weighted_by_key=WEIGHT, beta=of.trimmed_share))


def _mean_around_median(
    of: "Aggregation", records: Sequence[ArrayRecord], weights: Sequence[float]
) -> ArrayRecord:
    """Average, value by value, all but the 2f that are farthest from the median (Bulyan)."""
    kept = len(records) - 2 * of.assumed_malicious
    found = ArrayRecord()
    for name in records[0]:
        values = np.stack([record[name].numpy() for record in records])
        far = np.abs(values - np.median(values, axis=0))
        nearest = np.argpartition(far, kept - 1, axis=0)[:kept]
        mean = np.take_along_axis(values, nearest, axis=0).mean(axis=0)
        found[name] = Array(np.asarray(mean))
    return found


MEAN = "mean"
MALICIOUS = ("robust.assumed-malicious",)

RULES: dict[str, Rule] = {
    MEAN: Rule(_mean),
    "median": Rule(_median),
    "trimmed_mean": Rule(_trimmed_mean, keys=("robust.trimmed-share",)),
    # Blanchard et al., NeurIPS 2017, and El Mhamdi et al., ICML 2018: fewer prove nothing.
    "krum": Rule(_mean, lambda f: 2 * f + 3, lambda replies, f: 1, MALICIOUS),
    "multi_krum": Rule(_mean, lambda f: 2 * f + 3, lambda replies, f: replies - f, MALICIOUS),
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
        key="robust.aggregation",
        formerly=("aggregation",),
        choices=RULES,
    )
    trimmed_share: float = setting(
        0.2,
        "fraction of the values that `trimmed_mean` cuts off at either end",
        key="robust.trimmed-share",
        formerly=("trimmed-share",),
        ge=0,
        le=0.49,
    )
    assumed_malicious: int = setting(
        1,
        "malicious clients that `krum`, `multi_krum` and `bulyan` expect in a round",
        key="robust.assumed-malicious",
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
        """Return what aggregates."""
        return Aggregation(self.aggregation, self.trimmed_share, self.assumed_malicious)


@dataclass(frozen=True)
class Aggregation:
    """Aggregates client halves, heads, and SplitFed V1's server halves.

    Mean, median and trimmed mean are computed by Flower's strategies. Krum, Multi-Krum and Bulyan
    choose clients once a round, by distances over all that is averaged together: Flower's own
    measure integer counters too, in float32.

    Attributes
    ----------
    rule : str
        A name in ``RULES``. All but ``mean``, ``krum`` and ``multi_krum`` weigh clients alike.
    trimmed_share : float
        For ``trimmed_mean``: fraction of the values that is cut off at either end.
    assumed_malicious : int
        For ``krum``, ``multi_krum`` and ``bulyan``: malicious clients to expect in a round.

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
        """The fewest replies of a round that counts."""
        return RULES[self.rule].fewest(self.assumed_malicious)

    @property
    def chooses(self) -> bool:
        """Whether the rule averages only clients that it chooses."""
        return RULES[self.rule].chosen is not None

    def choose(self, trained: Mapping[int, Trained]) -> list[int]:
        """Return the clients whose work is averaged, in the order given.

        Parameters
        ----------
        trained : Mapping
            What each of at least ``fewest`` clients trained, all parts of it.
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
        found = RULES[self.rule].average(self, records, weights)
        return with_dtypes_of(found, records[0])

    def of_states(
        self, states: Iterable[Mapping[str, Tensor]], weights: Sequence[float]
    ) -> dict[str, Tensor]:
        """Aggregate state_dicts; for a mean one is in memory at a time."""
        if RULES[self.rule].average is _mean:
            return average(states, weights)
        records = [ArrayRecord(dict(state)) for state in states]
        return dict(self.of_records(records, weights).to_torch_state_dict())
