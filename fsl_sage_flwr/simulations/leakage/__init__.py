"""``fsl-sage leakage``: how much of the inputs the smashed data at a cut reveal."""

from .distance_correlation import distance_correlation
from .measurement import Leakage, Trained, measure

__all__ = ["Leakage", "Trained", "distance_correlation", "measure"]
