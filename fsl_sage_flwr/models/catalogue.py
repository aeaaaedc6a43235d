"""The registry of models, each with its usual cut."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from ..registries import Registry
from ..splitting.errors import SplitError
from .basic_head import basic_head
from .cifar_resnet import cifar_resnet
from .resnet import resnet18, resnet50, resnet152
from .simple_conv import SimpleConv

Builder = Callable[[tuple[int, int, int], int], nn.Module]
AuxiliaryBuilder = Callable[[tuple[Tensor, ...], int], nn.Module]


@dataclass(frozen=True)
class ModelEntry:
    """A model that a run can name.

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
    tail : str
        Default tail, for labels that stay on clients: the last layer. Empty for none.
    """

    build: Builder
    cut: str
    auxiliary: str | AuxiliaryBuilder = "auto"
    tail: str = ""


MODELS = Registry[ModelEntry]("model", ModelEntry)
"""Models by name: valid for ``model``."""

MODELS.register(
    "simple_conv",
    ModelEntry(SimpleConv, cut="classifier", auxiliary="linear", tail="classifier.4"),
)
MODELS.register("resnet18", ModelEntry(resnet18, cut="layer3", tail="fc"))
# FSL-SAGE's heads for these models have basic blocks, but their server halves have none.
MODELS.register(
    "resnet50",
    ModelEntry(resnet50, cut="layer3", auxiliary=partial(basic_head, blocks=6), tail="fc"),
)
MODELS.register(
    "resnet152",
    ModelEntry(resnet152, cut="layer3", auxiliary=partial(basic_head, blocks=36), tail="fc"),
)
MODELS.register("resnet56", ModelEntry(partial(cifar_resnet, depth=56), cut="layer2", tail="fc"))
# FSL-SAGE's ResNet-110 is four times as wide as that of He et al.
MODELS.register(
    "resnet110",
    ModelEntry(partial(cifar_resnet, depth=110, planes=64), cut="layer2", tail="fc"),
)
MODELS.register(
    "resnet1202", ModelEntry(partial(cifar_resnet, depth=1202), cut="layer2", tail="fc")
)


def tail_name(name: str, given: str = "") -> str:
    """Return the tail of a registered model: the given one, or the model's default.

    Raises
    ------
    SplitError
        There is neither.
    """
    tail = given or MODELS[name].tail
    if not tail:
        raise SplitError(
            f"labels = 'client': the model {name!r} has no default tail; name the first submodule "
            "that stays with the labels: tail=…"
        )
    return tail


def build_model(name: str, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Build a registered model, initialised from torch's global generator."""
    return MODELS[name].build(image_shape, num_classes)
