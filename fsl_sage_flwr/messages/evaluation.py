"""Declare the reply of federated evaluation, whose request is a ``WeightsRequest``.

A client with the client half replies with a ``SmashedReply`` of its validation data, which the
server half scores. A client with the whole model replies with its own scores.
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
    """Returns the results of a whole model on a client's validation data.

    Attributes
    ----------
    round : int
        The request's.
    loss : float
        Mean over the examples, at least 0.
    num_examples : int
        Number of examples, as the objective counts.
    scores : Mapping
        The objective's scores by name, and ``NAME-weight`` for a score with another weight than
        the number of examples.
    """

    round: int = figure_field()
    loss: float = measure_field()
    num_examples: int = figure_field(at_least=1)
    scores: Mapping[str, float] = scores_field()

    def check(self, expected: ReplySchema) -> None:
        """Refuse an accuracy outside 0 to 1."""
        accuracy = self.scores.get("accuracy", 0.0)
        if not 0 <= accuracy <= 1:
            raise BadReplyError(
                f"accuracy {accuracy} on {self.num_examples} examples is impossible"
            )
