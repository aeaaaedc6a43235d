"""Federated split learning on Flower.

The public surface: cut a model with :func:`split`, describe what is trained with a
:class:`SplitTask` (its learning rates may follow a :class:`LearningRateSchedule`, its labels be
those of any :class:`Objective`), train it with a strategy (:class:`FslSage` and its
:class:`AlignmentRecipe`, :class:`CseFsl`, :class:`HeronSfl`, :class:`SplitFedV1`,
:class:`SplitFedV2`, :class:`FullModelFedAvg`) on the server and a ClientApp from
:func:`build_client_app` on the nodes; :func:`to_record` makes Flower's record of an evaluation,
:class:`CommunicationLedger` counts the bytes, a :class:`Compression` makes them fewer
(:func:`register_codec` adds a :class:`Codec`), and :func:`smashed_noise_mod` clips and noises what
leaves a node.
"""

from . import algorithms as _registration  # noqa: F401 - makes every algorithm known
from .client_apps import build_client_app, smashed_noise_mod
from .codecs import Codec, register_codec
from .messages import CommunicationLedger, Compression
from .objective import Objective, classification, multi_label, regression, segmentation
from .schedules import LearningRateSchedule
from .splitting import AlignmentRecipe, SplitError, SplitModel, list_cuts, split, split_pair
from .strategies import (
    CseFsl,
    FslSage,
    FullModelFedAvg,
    HeronSfl,
    SplitFedV1,
    SplitFedV2,
    to_record,
)
from .task import ClientIdentity, SplitTask

__all__ = [
    "AlignmentRecipe",
    "ClientIdentity",
    "Codec",
    "CommunicationLedger",
    "Compression",
    "CseFsl",
    "FslSage",
    "FullModelFedAvg",
    "HeronSfl",
    "LearningRateSchedule",
    "Objective",
    "SplitError",
    "SplitFedV1",
    "SplitFedV2",
    "SplitModel",
    "SplitTask",
    "build_client_app",
    "classification",
    "list_cuts",
    "multi_label",
    "register_codec",
    "regression",
    "segmentation",
    "smashed_noise_mod",
    "split",
    "split_pair",
    "to_record",
]
