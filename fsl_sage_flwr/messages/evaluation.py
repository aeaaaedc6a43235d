"""Declare the messages of federated evaluation, whose first request is a ``WeightsRequest``.

A client with the client half replies with a ``SmashedReply`` of its validation data, which the
server half scores. A client with the whole model replies with its own scores. One that also holds
the tail replies with smashed data alone, is sent hidden states, and replies with its own scores.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .fields import ReplySchema
from .payload import Reply, Request, batch_field, figure_field, measure_field, scores_field
from .records import SMASHED, BadReplyError

EVALUATE_SPLIT = "evaluate.split"
EVALUATE_FULL_MODEL = "evaluate.full_model"
EVALUATE_TAIL = "evaluate.tail"


@dataclass(frozen=True, kw_only=True)
class UnlabelledReply(Reply):
    """Returns smashed data whose labels stay.

    Attributes
    ----------
    samples : int
        Number of validation samples, ``N``.
    smashed : tuple of Tensor
        Each ``(N, …)``.
    """

    samples: int = figure_field(at_least=1)
    smashed: tuple[Tensor, ...] = batch_field(SMASHED)


@dataclass(frozen=True, kw_only=True)
class TailEvaluation(Request):
    """Asks a client to evaluate its tail on the hidden states of its validation samples.

    Attributes
    ----------
    round : int
        Round ``t``, from 0.
    hidden : tuple of Tensor
        Each ``(N, …)``, in the order of the smashed data.
    """

    joins_config: ClassVar[bool] = False

    round: int = figure_field()
    hidden: tuple[Tensor, ...] = batch_field(SMASHED)


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
