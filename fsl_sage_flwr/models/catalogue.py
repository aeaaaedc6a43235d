"""Models by name, each with the cut where it is usually split."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from .resnet import resnet18
from .simple_conv import SimpleConv

Builder = Callable[[tuple[int, int, int], int], nn.Module]


@dataclass(frozen=True)
class ModelEntry:
    """A model of the catalogue.

    Attributes
    ----------
    build : callable
        From an image's shape ``(C, H, W)`` and the number of classes to the model.
    cut : str
        First submodule of the server half, unless the user names another.
    auxiliary : str
        Kind of auxiliary head that ``auxiliary = "auto"`` stands for.
    """

    build: Builder
    cut: str
    auxiliary: str = "auto"


CATALOGUE: dict[str, ModelEntry] = {
    "simple_conv": ModelEntry(SimpleConv, cut="classifier", auxiliary="linear"),
    "resnet18": ModelEntry(resnet18, cut="layer3"),
}


def register_model(name: str, entry: ModelEntry) -> None:
    """Add a model to the catalogue, so that ``model = "name"`` means it."""
    if name in CATALOGUE:
        raise ValueError(f"model {name!r} is in the catalogue already; choose another name.")
    CATALOGUE[name] = entry


def build_model(name: str, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Build a model of the catalogue, initialised from torch's global generator."""
    return CATALOGUE[name].build(image_shape, num_classes)
