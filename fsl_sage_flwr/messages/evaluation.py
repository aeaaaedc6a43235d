"""Federated evaluation: a ``WeightsRequest``, and what comes back.

A client that holds the client half alone answers with smashed data and labels of its validation
part, which the server half scores. One that holds the whole model scores itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from .fields import ReplySchema
from .payload import Reply, figure_field, measure_field, scores_field
from .records import BadReplyError

EVALUATE_SPLIT = "evaluate.split"
EVALUATE_FULL_MODEL = "evaluate.full_model"


@dataclass(frozen=True, kw_only=True)
class EvaluateReply(Reply):
    """Results of a whole model on a client's validation part.

    Attributes
    ----------
    round : int
        The request's.
    loss : float
        Mean over the examples, at least 0.
    num_examples : int
        How many there were, as the objective counts.
    scores : Mapping
        The objective's scores by name; ``NAME-weight`` where a score counts for something else
        than the number of examples.
    """

    round: int = figure_field()
    loss: float = measure_field()
    num_examples: int = figure_field(at_least=1)
    scores: Mapping[str, float] = scores_field()

    def check(self, expected: ReplySchema) -> None:
        """Refuse a share that is not between 0 and 1."""
        accuracy = self.scores.get("accuracy", 0.0)
        if not 0 <= accuracy <= 1:
            raise BadReplyError(
                f"accuracy {accuracy} on {self.num_examples} examples is impossible"
            )
