"""What noise guarantees: (ε, δ) by Flower's own accountant."""

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
            f"privacy.delta = {delta:g}: {MISSING} where the server runs, or set privacy.delta = 0 "
            "for no account"
        )


class PrivacyAccount:
    """(ε, δ) of one sample after so many uploads of its smashed data.

    Two values of a sample's clipped smashed data are at most two clipping norms apart, so one
    upload is a Gaussian mechanism with sensitivity 2C and deviation mC: as if a mechanism of
    sensitivity 1 had the noise multiplier m/2. Uploads compose, and none is left out for the
    chance that a sample was in a batch that is not uploaded: batches are drawn by shuffling with
    a seed that the server knows, which amplifies nothing.

    With DP-SGD each upload stands for a step of the client as well, of at most as many
    samples as were uploaded: a sample is in one batch of a local epoch. Its clipped gradients
    are at most two clipping norms apart too, and the two mechanisms compose.

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
    client_noise_multiplier : float
        Deviation of the noise on clients' steps in clipping norms; 0 without DP-SGD.

    Raises
    ------
    PrivacyAccountError
        The accountant is not installed, or Flower is too old to have it.
    """

    def __init__(
        self,
        noise_multiplier: float,
        delta: float,
        samples_moved: int = 1,
        client_noise_multiplier: float = 0.0,
    ) -> None:
        require_accountant(delta)
        self.delta, self._samples_moved = delta, samples_moved
        self._effective_multipliers = [noise_multiplier / (2 * math.sqrt(samples_moved))]
        if client_noise_multiplier:
            self._effective_multipliers.append(client_noise_multiplier / 2)

    def epsilon(self, uploads: int) -> float:
        """Return ε after so many uploads of one sample; 0 for none."""
        if not uploads:
            return 0.0
        return _epsilon(tuple(self._effective_multipliers), uploads, self.delta)

    def in_words(self, uploads: int) -> str:
        """Return what so many uploads cost, what that covers and what it does not."""
        moved = self._samples_moved
        mixed = f" and moving those of all {moved} in its batch" if moved > 1 else ""
        covered, left = "the smashed data of", "labels, client halves and auxiliary heads"
        if len(self._effective_multipliers) > 1:
            covered, left = "the smashed data and the client's steps of", "labels"
        return (
            f"epsilon = {self.epsilon(uploads):.4g} at delta = {self.delta:g} for {covered} one "
            f"sample, uploaded at most {uploads} times{mixed}; {left} are not covered "
            "(docs/privacy.md)"
        )


@lru_cache(maxsize=4096)
def _epsilon(noise_multipliers: tuple[float, ...], count: int, delta: float) -> float:
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
    for multiplier in noise_multipliers:
        accountant.compose(GaussianPrivacyEvent(multiplier, 1, 1), count)
    return accountant.get_epsilon(delta)
