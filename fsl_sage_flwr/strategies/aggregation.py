"""How what several clients trained becomes one: the mean, or an average that a few cannot move."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from flwr.app import ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy import Bulyan, FedAvg, FedMedian, FedTrimmedAvg, Krum, MultiKrum
from torch import Tensor

from ..messages import message_outside_a_run
from .averaging import average, with_dtypes_of

WEIGHT = "weight"

MakeStrategy = Callable[["Aggregation", int], FedAvg]


@dataclass(frozen=True)
class Rule:
    """A way to aggregate.

    Attributes
    ----------
    strategy : callable
        From the settings and the number of replies to Flower's strategy that does it.
    fewest : callable
        From the number of malicious clients to the fewest replies that it is meant for.
    keys : tuple of str
        Those of the run configuration's keys for aggregation that it depends on.
    """

    strategy: MakeStrategy
    fewest: Callable[[int], int] = lambda malicious: 1
    keys: tuple[str, ...] = ()


def _mean(of: "Aggregation", replies: int) -> FedAvg:
    return FedAvg(weighted_by_key=WEIGHT)


def _median(of: "Aggregation", replies: int) -> FedAvg:
    return FedMedian(weighted_by_key=WEIGHT)


def _trimmed_mean(of: "Aggregation", replies: int) -> FedAvg:
    return FedTrimmedAvg(weighted_by_key=WEIGHT, beta=of.trimmed_share)


def _krum(of: "Aggregation", replies: int) -> FedAvg:
    return Krum(weighted_by_key=WEIGHT, num_malicious_nodes=of.malicious_clients)


def _multi_krum(of: "Aggregation", replies: int) -> FedAvg:
    return MultiKrum(
        weighted_by_key=WEIGHT,
        num_malicious_nodes=of.malicious_clients,
        num_nodes_to_select=replies - of.malicious_clients,
    )


def _bulyan(of: "Aggregation", replies: int) -> FedAvg:
    return Bulyan(weighted_by_key=WEIGHT, num_malicious_nodes=of.malicious_clients)


MEAN = "mean"
MALICIOUS = ("malicious-clients",)

RULES: dict[str, Rule] = {
    MEAN: Rule(_mean),
    "median": Rule(_median),
    "trimmed_mean": Rule(_trimmed_mean, keys=("trimmed-share",)),
    # Blanchard et al., NeurIPS 2017, and El Mhamdi et al., ICML 2018: fewer prove nothing.
    "krum": Rule(_krum, lambda malicious: 2 * malicious + 3, MALICIOUS),
    "multi_krum": Rule(_multi_krum, lambda malicious: 2 * malicious + 3, MALICIOUS),
    "bulyan": Rule(_bulyan, lambda malicious: 4 * malicious + 3, MALICIOUS),
}


@dataclass(frozen=True)
class Aggregation:
    """Aggregates client halves, heads, and SplitFed V1's server halves, each by itself.

    The arithmetic is that of Flower's strategies of these names (``FedMedian``, …).

    Attributes
    ----------
    rule : str
        A name in ``RULES``. All but ``mean``, ``krum`` and ``multi_krum`` weigh clients alike.
    trimmed_share : float
        Of ``trimmed_mean``: share of the values that is cut off at either end.
    malicious_clients : int
        Of ``krum``, ``multi_krum`` and ``bulyan``: how many of a round's clients may be.

    Raises
    ------
    ValueError
        The rule is not known, or a number is out of its range.
    """

    rule: str = MEAN
    trimmed_share: float = 0.2
    malicious_clients: int = 1

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"aggregation = {self.rule!r}: valid are {', '.join(RULES)}")
        if not 0 <= self.trimmed_share < 0.5 or self.malicious_clients < 0:
            raise ValueError(
                f"trimmed_share = {self.trimmed_share:g} must be at least 0 and below 0.5, and "
                f"malicious_clients = {self.malicious_clients} at least 0"
            )

    @property
    def fewest(self) -> int:
        """The fewest replies of a round that counts."""
        return RULES[self.rule].fewest(self.malicious_clients)

    def of_records(self, records: Sequence[ArrayRecord], weights: Sequence[float]) -> ArrayRecord:
        """Aggregate records of the same arrays; integers stay integers.

        Parameters
        ----------
        records : sequence of ArrayRecord
            At least ``fewest``; they are left as they are.
        weights : sequence of float
            Of each one.
        """
        messages = [
            message_outside_a_run(
                RecordDict({"arrays": record.copy(), "metrics": MetricRecord({WEIGHT: weight})}),
                node=0,
                kind="train",
                ttl=0.0,
            )
            for record, weight in zip(records, weights, strict=True)
        ]
        found, _ = RULES[self.rule].strategy(self, len(records)).aggregate_train(0, messages)
        if found is None:
            raise RuntimeError(f"aggregation = {self.rule!r} of {len(records)} replies gave none")
        return with_dtypes_of(found, records[0])

    def of_states(
        self, states: Iterable[Mapping[str, Tensor]], weights: Sequence[float]
    ) -> dict[str, Tensor]:
        """Aggregate state_dicts; for the mean one is in memory at a time."""
        if self.rule == MEAN:
            return average(states, weights)
        records = [ArrayRecord(dict(state)) for state in states]
        return dict(self.of_records(records, weights).to_torch_state_dict())
