"""``fsl-sage leakage``: measure how much smashed data reveal of the inputs."""

from .distance_correlation import distance_correlation
from .measurement import Leakage, Trained, measure

__all__ = ["Leakage", "Trained", "distance_correlation", "measure"]
