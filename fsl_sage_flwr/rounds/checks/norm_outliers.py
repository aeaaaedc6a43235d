"""Which of a round's replies stand out: updates and smashed data of a norm far above the median."""

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
    """The norms of a round's replies, and who stands out.

    Replies of clients that go on at their own pace are compared with the others' of the same
    place in the round, once all have come.

    Parameters
    ----------
    ratio : float
        How many medians are too many; 0: nobody is looked at.
    """

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._norms: defaultdict[tuple[bool, int], dict[int, dict[str, float]]] = defaultdict(dict)
        self._replies = Counter[int]()

    def note(self, client: int, reply: Reply, sent: Sent, *, is_last: bool = True) -> None:
        """Take the norms of a good reply.

        Parameters
        ----------
        client : int
            Who sent it.
        reply : Reply
            What it sent.
        sent : Mapping
            What it was sent, by the name that it has in the reply: weights whose update is
            looked at.
        is_last : bool
            It is asked nothing more in the round.
        """
        if self._ratio:
            place = (True, 0) if is_last else (False, self._replies[client])
            self._norms[place][client] = _norms(reply, sent)
            self._replies[client] += 1

    def outliers(self) -> dict[int, str]:
        """Return the clients of whom a norm is beyond so many medians of its kind, with why.

        Who stands out is not compared with in later replies.
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
    if isinstance(smashed, SmashedBatches):
        squares = [t.double().square().mean() for t in smashed.tensors if t.is_floating_point()]
        if squares:
            found["smashed data's norm"] = torch.stack(squares).mean().sqrt().item()
    return found
