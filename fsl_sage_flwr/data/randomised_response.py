"""Labels by randomised response (Warner 1965): differentially private, each drawn once."""

import hashlib
import math

import torch
from torch import Tensor


def randomised_response(labels: Tensor, num_classes: int, epsilon: float, secret: bytes) -> Tensor:
    """Return labels that are kept with probability e^ε / (e^ε + K - 1), else any of the others.

    Changing one label changes the probability of any result by at most a factor e^ε: the
    labels that are returned, and all that is made of them, are (ε, 0)-differentially private
    for each label. The same secret returns the same labels, so that a label is released once,
    however often it is sent.

    Parameters
    ----------
    labels : Tensor
        ``(N,)``, whole numbers in ``range(num_classes)``.
    num_classes : int
        K, at least 2.
    epsilon : float
        ε, above 0.
    secret : bytes
        At least 16 bytes that nobody else knows; SHAKE-256 makes the draws of it. Whoever
        knows it can tell which labels were kept.

    Returns
    -------
    Tensor
        ``(N,)``, of the same dtype and device.

    Raises
    ------
    ValueError
        A value is out of its range.
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
