"""Weights to compute with, and nothing to train: a probe, and evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .payload import Reply, Request, figure_field, smashed_field, weights_field
from .records import CLIENT_HALF
from .smashed import SmashedBatches


@dataclass(frozen=True, kw_only=True)
class WeightsRequest(Request):
    """Ask for what these weights make of the client's data.

    Attributes
    ----------
    round : int
        Round ``t``, from 0.
    weights : Mapping
        The average ``x_c``, or of whole models.
    """

    joins_config: ClassVar[bool] = False

    round: int = figure_field()
    weights: Mapping[str, Tensor] = weights_field(CLIENT_HALF)


@dataclass(frozen=True, kw_only=True)
class SmashedReply(Reply):
    """Smashed data and labels, and nothing else.

    Attributes
    ----------
    smashed : SmashedBatches
        One batch or several.
    """

    smashed: SmashedBatches = smashed_field()
