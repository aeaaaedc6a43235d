"""Which of a round's replies stand out: updates and smashed data of a norm far above the median."""

import math
from collections.abc import Mapping
from statistics import median
from typing import Any

import torch
from torch import Tensor

from ..messages import Reply, SmashedBatches

Sent = Mapping[str, Mapping[str, Tensor]]


def outliers(
    replies: Mapping[int, Reply], sent: Mapping[int, Sent], ratio: float
) -> dict[int, str]:
    """Return the clients whose reply has a norm beyond ``ratio`` times the replies' median.

    Parameters
    ----------
    replies : Mapping
        A round's good replies, by client.
    sent : Mapping
        By client what it was sent, by the name that it has in the reply: weights whose update
        is looked at.
    ratio : float
        How many medians are too many.

    Returns
    -------
    dict of int to str
        By client, why it is one.
    """
    found: dict[int, str] = {}
    norms = {client: _norms(reply, sent[client]) for client, reply in replies.items()}
    for what in sorted({what for each in norms.values() for what in each}):
        values = {client: each[what] for client, each in norms.items() if what in each}
        middle = median(values.values())
        for client, value in values.items():
            if value > ratio * middle > 0:
                found.setdefault(
                    client,
                    f"its {what} is {value / middle:.3g} times the round's median "
                    f"(max-update-ratio = {ratio:g})",
                )
    return found


def _norms(reply: Reply, sent: Sent) -> dict[str, float]:
    """Return a reply's norms: of updates, Euclidean; of smashed data, the root mean square."""
    found = {}
    for name, before in sent.items():
        after: Mapping[str, Tensor] | None = getattr(reply, name, None)
        if after:
            found[f"{name.replace('_', ' ')}'s update"] = math.sqrt(
                sum(
                    (after[key].double() - tensor.double()).square().sum().item()
                    for key, tensor in before.items()
                    if tensor.is_floating_point()
                )
            )
    smashed: Any = getattr(reply, "smashed", None)
    if isinstance(smashed, SmashedBatches):
        squares = [t.double().square().mean() for t in smashed.tensors if t.is_floating_point()]
        if squares:
            found["smashed data's norm"] = torch.stack(squares).mean().sqrt().item()
    return found
