"""Draw differentially private labels once, by randomised response (Warner 1965)."""

import hashlib
import math

import torch
from torch import Tensor


def randomised_response(labels: Tensor, num_classes: int, epsilon: float, secret: bytes) -> Tensor:
    """Return each label with probability e^ε / (e^ε + K - 1), otherwise one of the others.

    Changing one label changes the probability of any result by at most a factor e^ε: the returned
    labels, and everything derived from them, are (ε, 0)-differentially private per label. The same
    secret returns the same labels, so that repeated messages release a label only once.

    Parameters
    ----------
    labels : Tensor
        ``(N,)``, whole numbers in ``range(num_classes)``.
    num_classes : int
        K, at least 2.
    epsilon : float
        ε, above 0.
    secret : bytes
        At least 16 secret bytes, from which SHAKE-256 makes the draws. They reveal which labels
        were kept.

    Returns
    -------
    Tensor
        ``(N,)``, of the same dtype and device.

    Raises
    ------
    ValueError
        A value is out of range.
    """
    if num_classes < 2 or not 0 < epsilon < math.inf or len(secret) < 16:
        raise ValueError(
            f"randomised response with {num_classes} classes, epsilon = {epsilon} and a secret of "
            f"{len(secret)} bytes: at least 2, above 0 and at least 16 are needed"
        )
    stream = bytearray(hashlib.shake_256(secret).digest(16 * len(labels)))
    draws = torch.frombuffer(stream, dtype=torch.int64) if stream else torch.zeros(0).long()
    uniform = (draws[: len(labels)] & (2**53 - 1)).double() * 2.0**-53
    shift = (draws[len(labels) :] & (2**53 - 1)) % (num_classes - 1) + 1
    kept = 1 / (1 + (num_classes - 1) * math.exp(-epsilon))
    changed = (uniform >= kept).to(labels.device)
    others = (labels + shift.to(labels)) % num_classes
    return torch.where(changed, others, labels)
