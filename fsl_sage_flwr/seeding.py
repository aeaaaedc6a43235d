"""Seeds for all random draws, each derived from its purpose."""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """Return a seed that depends on every part and on their order.

    Each random draw gets a seed from (run seed, round, client, purpose), so the result of a
    run does not depend on which process does the work or which reply arrives first.

    Parameters
    ----------
    *parts : int | str
        What the randomness is for, e.g. ``(seed, "batches", round, partition_id)``.

    Returns
    -------
    int
        A seed in ``[0, 2**63)``, accepted by ``torch.Generator.manual_seed``.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
