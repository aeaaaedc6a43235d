"""Federated split learning on Flower.

The public surface: cut a model with :func:`split`, describe what is trained with a
:class:`SplitTask` (its learning rates may follow a :class:`LearningRateSchedule`, its labels be
those of any :class:`Objective`), train it with a strategy (:class:`FslSage` and its
:class:`AlignmentRecipe`, :class:`CseFsl`, :class:`HeronSfl`, :class:`MuSplitFed`,
:class:`SplitFedV1`, :class:`SplitFedV2`, :class:`SplitFrozen`, :class:`FullModelFedAvg`) on the
server and a ClientApp from :func:`build_client_app` on the nodes; :func:`to_record` makes
Flower's record of an evaluation, :class:`CommunicationLedger` counts the bytes, a
:class:`Compression` makes them fewer (``CODECS.register`` adds a :class:`Codec`), a
:class:`Recorder` keeps what a run leaves, :func:`run_inline` runs both apps in this process,
:func:`smashed_noise_mod` clips and noises smashed data as they leave a node, and a
:class:`ClientPrivacy` a client's steps (a :class:`PrivacyAccount` computes the guarantee;
:func:`randomised_response` and :func:`label_secret_mod` are for labels).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .public import *  # noqa: F403

    __version__: str

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


if not TYPE_CHECKING:  # a type checker would take any name for one that there is

    def __getattr__(name: str) -> object:
        # torch and Flower take seconds to import: `fsl-sage --help` does not need them.
        if name == "__version__":
            from .running_code import package_version

            return package_version()
        if name == "register_codec":
            raise ImportError(f"{name} is gone: call CODECS.register(codec.name, codec)")
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import public

        return getattr(public, name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
