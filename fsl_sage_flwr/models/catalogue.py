"""Models by name, each with its default cut."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from .basic_head import basic_head
from .cifar_resnet import cifar_resnet
from .resnet import resnet18, resnet50, resnet152
from .simple_conv import SimpleConv

Builder = Callable[[tuple[int, int, int], int], nn.Module]
AuxiliaryBuilder = Callable[[tuple[Tensor, ...], int], nn.Module]


@dataclass(frozen=True)
class ModelEntry:
    """A model of the catalogue.

    Attributes
    ----------
    build : callable
        Builds the model from an image's shape ``(C, H, W)`` and the number of classes; the names of
        its submodules do not depend on either.
    cut : str
        Default cut: first submodule of the server half.
    auxiliary : {"auto", "linear"} or callable
        Auxiliary head for ``auxiliary = "auto"`` at the default cut: a kind of
        :func:`~fsl_sage_flwr.splitting.build_auxiliary`, or a function from example smashed data
        (a tuple of tensors) and the number of classes to a head initialised from torch's global
        generator. At any other cut the kind is ``"auto"``.
    """

    build: Builder
    cut: str
    auxiliary: str | AuxiliaryBuilder = "auto"


CATALOGUE: dict[str, ModelEntry] = {
    "simple_conv": ModelEntry(SimpleConv, cut="classifier", auxiliary="linear"),
    "resnet18": ModelEntry(resnet18, cut="layer3"),
    # FSL-SAGE's heads for these models have basic blocks, which their server halves lack.
    "resnet50": ModelEntry(resnet50, cut="layer3", auxiliary=partial(basic_head, blocks=6)),
    "resnet152": ModelEntry(resnet152, cut="layer3", auxiliary=partial(basic_head, blocks=36)),
    "resnet56": ModelEntry(partial(cifar_resnet, depth=56), cut="layer2"),
    # FSL-SAGE's ResNet-110 is four times as wide as that of He et al.
    "resnet110": ModelEntry(partial(cifar_resnet, depth=110, planes=64), cut="layer2"),
    "resnet1202": ModelEntry(partial(cifar_resnet, depth=1202), cut="layer2"),
}


def register_model(name: str, entry: ModelEntry) -> None:
    """Add a model that a run can choose with ``model = "name"``."""
    if name in CATALOGUE:
        raise ValueError(f"model {name!r} is in the catalogue already; choose another name.")
    CATALOGUE[name] = entry


def build_model(name: str, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Build a model of the catalogue, initialised from torch's global generator."""
    return CATALOGUE[name].build(image_shape, num_classes)
