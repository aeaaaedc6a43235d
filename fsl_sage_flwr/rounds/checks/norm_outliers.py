"""Find updates and smashed data of a norm far above the round's median."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from statistics import median
from typing import Any

import torch
from torch import Tensor

from ...messages import Reply, SmashedBatches

Sent = Mapping[str, Mapping[str, Tensor]]


class NormOutlierFilter:
    """Compares the norms of a round's replies with their medians.

    Replies of clients at their own pace are compared with the others' of the same place in the
    round, when all have arrived.

    Parameters
    ----------
    ratio : float
        Largest norm, in medians; 0 disables the filter.
    """

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._norms: defaultdict[tuple[bool, int], dict[int, dict[str, float]]] = defaultdict(dict)
        self._replies = Counter[int]()

    def record(self, client: int, reply: Reply, sent: Sent, *, is_last: bool = True) -> None:
        """Record the norms of a valid reply.

        Parameters
        ----------
        client : int
            Partition id.
        reply : Reply
            Its reply.
        sent : Mapping
            Weights that it started from, by their name in the reply.
        is_last : bool
            Whether it is the client's last reply in the round.
        """
        if self._ratio:
            place = (True, 0) if is_last else (False, self._replies[client])
            self._norms[place][client] = _norms(reply, sent)
            self._replies[client] += 1

    def outliers(self) -> dict[int, str]:
        """Return the clients with a norm above the limit, with the reason.

        Their later replies are not compared with the others'.
        """
        found: dict[int, str] = {}
        for _, norms in sorted(self._norms.items()):
            found |= self._in_one_place({c: n for c, n in norms.items() if c not in found})
        return dict(sorted(found.items()))

    def _in_one_place(self, norms: Mapping[int, Mapping[str, float]]) -> dict[int, str]:
        found: dict[int, str] = {}
        for what in sorted({what for each in norms.values() for what in each}):
            values = {client: each[what] for client, each in norms.items() if what in each}
            middle = median(values.values())
            for client, value in values.items():
                if value > self._ratio * middle > 0:
                    found.setdefault(
                        client,
                        f"its {what} is {value / middle:.3g} times the round's median "
                        f"(robust.max-update-ratio = {self._ratio:g})",
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
    square = None
    if isinstance(smashed, SmashedBatches):
        square = smashed.mean_square()
    elif isinstance(smashed, tuple):  # of one batch, whose labels stay
        squares = [t.double().square().mean() for t in smashed if t.is_floating_point()]
        square = torch.stack(squares).mean().item() if squares else None
    if square is not None:
        found["smashed data's norm"] = math.sqrt(square)
    return found
