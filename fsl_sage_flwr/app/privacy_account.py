"""What the noise on smashed data guarantees: (ε, δ) by Flower's own accountant."""

import math
from functools import lru_cache
from importlib.util import find_spec

MISSING = "the account of the noise needs the extra: pip install 'fsl-sage-flwr[privacy]'"


class PrivacyAccountError(ValueError):
    """There is no account of the noise; one line says why and what to do."""


def require_accountant(delta: float) -> None:
    """Check that the accountant is installed, without importing it.

    Raises
    ------
    PrivacyAccountError
        It is not.
    """
    if find_spec("dp_accounting") is None:
        raise PrivacyAccountError(
            f"delta = {delta:g}: {MISSING} where the server runs, or set delta = 0 for no account"
        )


class PrivacyAccount:
    """(ε, δ) of one sample's smashed data after so many uploads of them.

    Two values of a sample's clipped smashed data are at most two clipping norms apart, so one
    upload is a Gaussian mechanism with sensitivity 2C and deviation mC: as if a mechanism of
    sensitivity 1 had the noise multiplier m/2. Uploads compose, and none is left out for the
    chance that a sample was in a batch that is not uploaded: batches are drawn by shuffling with
    a seed that the server knows, which amplifies nothing.

    The accountant is Flower's ``RdpAccountant`` (Rényi differential privacy, Mironov 2017),
    whose ε is an upper bound.

    Parameters
    ----------
    noise_multiplier : float
        m: deviation of the noise in clipping norms, above 0.
    delta : float
        Above 0 and below 1.
    samples_moved : int
        Samples whose smashed data one sample's input may change in a batch: 1, or the whole
        batch where the client half has BatchNorm. So many move √n times as far.

    Raises
    ------
    PrivacyAccountError
        The accountant is not installed, or Flower is too old to have it.
    """

    def __init__(self, noise_multiplier: float, delta: float, samples_moved: int = 1) -> None:
        require_accountant(delta)
        self.delta, self._samples_moved = delta, samples_moved
        self._effective_multiplier = noise_multiplier / (2 * math.sqrt(samples_moved))

    def epsilon(self, uploads: int) -> float:
        """Return ε after so many uploads of one sample; 0 for none."""
        return _epsilon(self._effective_multiplier, uploads, self.delta) if uploads else 0.0

    def in_words(self, uploads: int) -> str:
        """Return what so many uploads cost, what that covers and what it does not."""
        moved = self._samples_moved
        mixed = f" and moving those of all {moved} in its batch" if moved > 1 else ""
        return (
            f"epsilon = {self.epsilon(uploads):.4g} at delta = {self.delta:g} for the smashed data "
            f"of one sample, uploaded at most {uploads} times{mixed}; labels, client halves and "
            "auxiliary heads are not covered (docs/privacy.md)"
        )


@lru_cache(maxsize=4096)
def _epsilon(noise_multiplier: float, count: int, delta: float) -> float:
    # Imported here, because it is optional and takes a second or two.
    try:
        from flwr.serverapp import (
            GaussianPrivacyEvent,
            NeighboringRelation,
            PrivacyConfig,
            RdpAccountant,
            SamplingMethod,
        )
    except ImportError as error:
        raise PrivacyAccountError(f"flwr is too old for an account of the noise: {MISSING}") from (
            error
        )
    # Flower's word for a plain Gaussian mechanism whose sensitivity is the unit of its noise.
    plain = NeighboringRelation.ADD_OR_REMOVE_ONE, SamplingMethod.NO_AMPLIFICATION
    accountant = RdpAccountant(PrivacyConfig(delta, 1, *plain))
    accountant.compose(GaussianPrivacyEvent(noise_multiplier, 1, 1), count)
    return accountant.get_epsilon(delta)
