"""Declare the request and the reply of probes and evaluations, which train nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .payload import Reply, Request, figure_field, smashed_field, weights_field
from .records import CLIENT_HALF
from .smashed import SmashedBatches


@dataclass(frozen=True, kw_only=True)
class WeightsRequest(Request):
    """Asks a client to run its data through these weights.

    Attributes
    ----------
    round : int
        Round ``t``, from 0.
    weights : Mapping
        The average ``x_c``, or that of whole models.
    """

    joins_config: ClassVar[bool] = False

    round: int = figure_field()
    weights: Mapping[str, Tensor] = weights_field(CLIENT_HALF)


@dataclass(frozen=True, kw_only=True)
class SmashedReply(Reply):
    """Returns smashed data and labels.

    Attributes
    ----------
    smashed : SmashedBatches
        One batch or several.
    """

    smashed: SmashedBatches = smashed_field()
