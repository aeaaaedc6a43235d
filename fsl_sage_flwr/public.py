"""All public names; the package imports this module at the first use of one of them."""

from . import algorithms as _registration  # noqa: F401 - makes every algorithm known
from .client_apps import build_client_app, label_secret_mod, smashed_noise_mod
from .compression import CODECS, Codec, Compression
from .data import randomised_response
from .inline import run_inline
from .messages import CommunicationLedger
from .objective import Objective, binary, classification, multi_label, regression, segmentation
from .runs.privacy_account import PrivacyAccount
from .runs.recorder import Recorder
from .schedules import LearningRateSchedule
from .splitting import (
    AlignmentRecipe,
    ClientPrivacy,
    SplitError,
    SplitModel,
    list_cuts,
    split,
    split_pair,
)
from .strategies import (
    Ampere,
    CseFsl,
    CycleSl,
    FslSage,
    FullModelFedAvg,
    HeronSfl,
    MuSplitFed,
    SplitFedV1,
    SplitFedV2,
    SplitFrozen,
    to_record,
)
from .task import ClientIdentity, SplitTask

__all__ = [
    "CODECS",
    "AlignmentRecipe",
    "Ampere",
    "ClientIdentity",
    "ClientPrivacy",
    "Codec",
    "CommunicationLedger",
    "Compression",
    "CseFsl",
    "CycleSl",
    "FslSage",
    "FullModelFedAvg",
    "HeronSfl",
    "LearningRateSchedule",
    "MuSplitFed",
    "Objective",
    "PrivacyAccount",
    "Recorder",
    "SplitError",
    "SplitFedV1",
    "SplitFedV2",
    "SplitFrozen",
    "SplitModel",
    "SplitTask",
    "binary",
    "build_client_app",
    "classification",
    "label_secret_mod",
    "list_cuts",
    "multi_label",
    "randomised_response",
    "regression",
    "run_inline",
    "segmentation",
    "smashed_noise_mod",
    "split",
    "split_pair",
    "to_record",
]
