"""Federated split learning on Flower.

The public surface: cut a model with :func:`split`, describe what is trained with a
:class:`SplitTask`, train it with a strategy (:class:`FslSage`, :class:`CseFsl`,
:class:`SplitFedV1`, :class:`SplitFedV2`, :class:`FullModelFedAvg`) on the server and a ClientApp
from :func:`build_client_app` on the nodes; :class:`CommunicationLedger` counts the bytes, and
:func:`smashed_noise_mod` clips and noises what leaves a node.
"""

from . import algorithms as _registration  # noqa: F401 - makes every algorithm known
from .client_apps import build_client_app, smashed_noise_mod
from .messages import CommunicationLedger
from .splitting import SplitError, SplitModel, list_cuts, split, split_pair
from .strategies import CseFsl, FslSage, FullModelFedAvg, SplitFedV1, SplitFedV2
from .task import ClientIdentity, SplitTask

__all__ = [
    "ClientIdentity",
    "CommunicationLedger",
    "CseFsl",
    "FslSage",
    "FullModelFedAvg",
    "SplitError",
    "SplitFedV1",
    "SplitFedV2",
    "SplitModel",
    "SplitTask",
    "build_client_app",
    "list_cuts",
    "smashed_noise_mod",
    "split",
    "split_pair",
]
