"""Settings of asynchronous aggregation, and the weight of a stale reply."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...config import Options, setting

UPDATE, MODEL = "update", "model"
CONSTANT, POLYNOMIAL, HINGE = "constant", "polynomial", "hinge"
USED, WEIGHTED, DROPPED = "used", "weighted", "dropped"

STALENESS: Mapping[str, Callable[[int, float, int], float]] = {
    CONSTANT: lambda tau, a, b: 1.0,
    POLYNOMIAL: lambda tau, a, b: float((1 + tau) ** -a),
    HINGE: lambda tau, a, b: 1.0 if tau <= b else 1 / (1 + a * (tau - b)),
}
"""Weights ``s(τ)`` of FedAsync (Xie et al., arXiv 1903.03934) from τ, ``a`` and ``b``.

They are 1 for τ = 0. FedBuff's (Nguyen et al., arXiv 2106.06639), ``1/sqrt(1 + τ)``, is the
polynomial one with ``a = 0.5``.
"""


@dataclass(frozen=True)
class AsyncOptions(Options):
    """Asynchronous aggregation: FedBuff's buffer, and the weights of FedAsync."""

    buffer: int = setting(
        0,
        "replies K that end a round; other clients continue to compute, and their replies are "
        "merged in a later round. 0 waits for all",
        key="async.buffer",
        ge=0,
        unit="replies",
    )
    merge: str = setting(
        UPDATE,
        "what is added of a stale reply: `update` its difference from the weights that the client "
        "got (FedBuff), `model` its difference from the current weights (FedAsync)",
        key="async.merge",
        choices=(UPDATE, MODEL),
    )
    mixing: float = setting(
        1.0,
        "factor α of every reply's share",
        key="async.mixing",
        gt=0,
        le=1,
    )
    staleness: str = setting(
        POLYNOMIAL,
        "weight of a reply that is τ versions old: `constant` 1, `polynomial` (1 + τ)^-a, `hinge` "
        "1 up to τ = b and then 1 / (1 + a (τ - b))",
        key="async.staleness",
        choices=tuple(STALENESS),
    )
    decay: float = setting(0.5, "a of `async.staleness`", key="async.decay", ge=0)
    grace: int = setting(4, "b of `async.staleness`", key="async.grace", ge=0, unit="versions")
    late: str = setting(
        USED,
        "smashed data of a stale reply: `used`, `weighted` scales the server's learning rate on "
        "them by the reply's weight, `dropped` leaves them out",
        key="async.late",
        choices=(USED, WEIGHTED, DROPPED),
    )
    generate: int = setting(
        0,
        "least samples of each label in a batch of the server half; missing ones are drawn from a "
        "normal distribution per label (GAS). 0 disables it",
        key="async.generate",
        ge=0,
        unit="samples",
    )

    def weight(self, staleness: int) -> float:
        """Return the weight ``s(τ)`` of a reply that is ``staleness`` versions old."""
        return STALENESS[self.staleness](staleness, self.decay, self.grace)

    def problem_in_a_pool(self) -> str | None:
        """Return the problem with batches that have smashed data of several clients."""
        if self.late != WEIGHTED:
            return None
        return (
            f"async.late = {WEIGHTED!r}: with server-pool a step is on smashed data of several "
            f"clients, whose weights differ; give {USED!r} or {DROPPED!r}"
        )

    def unused(self) -> Mapping[str, str]:
        """Return the keys without effect: all without a buffer, ``a`` and ``b`` where not used."""
        names = ("merge", "mixing", "staleness", "decay", "grace", "late", "generate")
        if not self.buffer:
            return dict.fromkeys((f"async.{name}" for name in names), "async.buffer")
        used = {CONSTANT: (), POLYNOMIAL: ("decay",)}.get(self.staleness, ("decay", "grace"))
        unused = [name for name in ("decay", "grace") if name not in used]
        return dict.fromkeys((f"async.{name}" for name in unused), "async.staleness")

    def problem_with(
        self, *, fraction_reply: float, min_train_nodes: int, fewest: int
    ) -> str | None:
        """Return the problem with settings that do not fit a buffer, without the key's name.

        Parameters
        ----------
        fraction_reply, min_train_nodes
            As of every strategy.
        fewest : int
            Replies that the average needs.
        """
        if not self.buffer:
            return None
        if fraction_reply < 1:
            return f"fraction-reply = {fraction_reply:g}: the buffer ends a round; leave one out"
        if min_train_nodes > self.buffer:
            return (
                f"min-train-nodes = {min_train_nodes}: a round ends after {self.buffer} replies; "
                f"give at most {self.buffer}"
            )
        if fewest > self.buffer:
            return f"robust.aggregation needs {fewest} replies in a round; give at least {fewest}"
        return None
