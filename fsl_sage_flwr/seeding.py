"""Derive a seed for each random draw from its purpose."""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """Return a seed that depends on all parts and their order.

    Each random draw gets a seed from (run seed, round, client, purpose), so the result of a run
    depends neither on the processes that do the work nor on the order of the replies.

    Parameters
    ----------
    *parts : int | str
        Purpose of the draw, e.g. ``(seed, "batches", round, partition_id)``.

    Returns
    -------
    int
        A seed in ``[0, 2**63)``, accepted by ``torch.Generator.manual_seed``.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
