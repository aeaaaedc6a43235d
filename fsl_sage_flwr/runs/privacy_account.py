"""Compute the (ε, δ) guarantee of the noise with Flower's own accountant."""

import math
from functools import lru_cache
from importlib.util import find_spec

MISSING = "the account of the noise needs the extra: pip install 'fsl-sage-flwr[privacy]'"


class PrivacyAccountError(ValueError):
    """The guarantee cannot be computed; one line gives the reason and a fix."""


def require_accountant(delta: float) -> None:
    """Check that the accountant is installed, without importing it.

    Raises
    ------
    PrivacyAccountError
        The accountant is missing.
    """
    if find_spec("dp_accounting") is None:
        raise PrivacyAccountError(
            f"privacy.delta = {delta:g}: {MISSING} where the server runs, or set privacy.delta = 0 "
            "for no account"
        )


class PrivacyAccount:
    """(ε, δ) of one sample after a number of uploads of its smashed data.

    Two values of a sample's clipped smashed data differ by at most two clipping norms. One upload
    is therefore a Gaussian mechanism of sensitivity 2C and standard deviation mC, equivalent to
    sensitivity 1 with noise multiplier m/2. All uploads compose, without amplification by
    subsampling: the server knows the seed that shuffles the batches.

    With DP-SGD each upload also counts as a step of the client, because a sample is in one batch
    per local epoch. Its clipped gradients differ by at most two clipping norms too, and the two
    mechanisms compose.

    The accountant is Flower's ``RdpAccountant`` (Rényi differential privacy, Mironov 2017); its ε
    is an upper bound.

    Parameters
    ----------
    noise_multiplier : float
        m, standard deviation of the noise in clipping norms, above 0.
    delta : float
        Above 0 and below 1.
    samples_moved : int
        Number of samples, n, whose smashed data depend on one sample's input: 1, or the whole
        batch if the client half has BatchNorm. The distance grows by √n.
    client_noise_multiplier : float
        Standard deviation of the noise on clients' steps in clipping norms; 0 without DP-SGD.

    Raises
    ------
    PrivacyAccountError
        The accountant is not installed, or Flower is too old.
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
        """Return ε after this number of uploads of one sample; 0 for none."""
        if not uploads:
            return 0.0
        return _epsilon(tuple(self._effective_multipliers), uploads, self.delta)

    def describe(self, uploads: int) -> str:
        """Describe the privacy cost of the uploads, and its scope."""
        moved = self._samples_moved
        mixed = f" and moving those of all {moved} in its batch" if moved > 1 else ""
        covered, left = "the smashed data of", "labels, client halves and auxiliary heads"
        if len(self._effective_multipliers) > 1:
            covered, left = "the smashed data and the client's steps of", "labels"
        return (
            f"epsilon = {self.epsilon(uploads):.4g} at delta = {self.delta:g} for {covered} one "
            f"sample, uploaded at most {uploads} times{mixed}; {left} are not covered "
            "(docs/explanation/privacy.md)"
        )


@lru_cache(maxsize=4096)
def _epsilon(noise_multipliers: tuple[float, ...], count: int, delta: float) -> float:
    # Imported here because it is optional and takes one or two seconds.
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
    # Flower's setting for a plain Gaussian mechanism with the sensitivity as unit of its noise.
    plain = NeighboringRelation.ADD_OR_REMOVE_ONE, SamplingMethod.NO_AMPLIFICATION
    accountant = RdpAccountant(PrivacyConfig(delta, 1, *plain))
    for multiplier in noise_multipliers:
        accountant.compose(GaussianPrivacyEvent(multiplier, 1, 1), count)
    return accountant.get_epsilon(delta)
