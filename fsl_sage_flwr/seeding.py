"""Seeds for everything random, each drawn from what it is for."""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """Return a seed that depends on every part and on their order.

    Drawing each random thing from (run seed, round, client, purpose) makes a run
    independent of which process does the work and of which reply comes first.

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
