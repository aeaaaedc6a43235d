"""Federated evaluation: a ``WeightsRequest``, and what comes back.

The split algorithms' clients answer with smashed data and labels of their validation part,
which the server half scores: a client never holds it. FedAvg's clients score themselves.
"""

from dataclasses import dataclass

from flwr.app import MetricRecord, MetricRecordValues, RecordDict

from .records import METRICS, BadReplyError, not_negative, number

EVALUATE_SPLIT = "evaluate.split"
EVALUATE_FULL_MODEL = "evaluate.full_model"


@dataclass(frozen=True)
class EvaluateReply:
    """Results of a whole model on a client's validation part.

    Attributes
    ----------
    round : int
        The request's.
    loss, accuracy : float
        Means over the examples; accuracy from 0 to 1.
    num_examples : int
        How many there were.
    """

    round: int
    loss: float
    accuracy: float
    num_examples: int

    def to_records(self) -> RecordDict:
        """Pack for a reply."""
        values: dict[str, MetricRecordValues] = {
            "round": self.round,
            "loss": self.loss,
            "accuracy": self.accuracy,
            "num-examples": self.num_examples,
        }
        return RecordDict({METRICS: MetricRecord(values)})

    @classmethod
    def from_records(cls, content: RecordDict, expected_round: int) -> "EvaluateReply":
        """Read and check on the server.

        Raises
        ------
        BadReplyError
            A number is missing, impossible, or of another round.
        """
        if METRICS not in content.metric_records:
            raise BadReplyError(f"record {METRICS!r} is missing")
        metrics = content.metric_records[METRICS]
        found = cls(
            number(metrics, "round"),
            not_negative(metrics, "loss"),
            not_negative(metrics, "accuracy"),
            number(metrics, "num-examples"),
        )
        if found.round != expected_round:
            raise BadReplyError(f"reply of round {found.round} in round {expected_round}")
        if found.accuracy > 1 or found.num_examples < 1:
            raise BadReplyError(
                f"accuracy {found.accuracy} on {found.num_examples} examples is impossible"
            )
        return found
