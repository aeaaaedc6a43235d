"""Learning-rate schedules, as functions of the number of finished rounds."""

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # declarations of settings check schedules without torch
    import torch

# Maps progress in rounds (2.5 is the middle of the third round) to a factor of the learning rate.
Schedule = Callable[[float], float]

# The required setting of a kind, and the settings it allows in addition to _ANY.
_NEEDS: dict[str, str] = {"step": "every", "multi_step": "at"}
_MAY: dict[str, set[str]] = {
    "constant": set(),
    "step": {"every", "gamma"},
    "multi_step": {"at", "gamma"},
    "cosine": {"over"},
    "linear": {"over"},
}
_ANY = {"warmup", "by"}
KINDS = tuple(_MAY)
FALLING = ("cosine", "linear")
UNITS = ("round", "batch")


def constant(progress: float) -> float:
    """Return 1, which leaves the rate unchanged."""
    return 1.0


@dataclass(frozen=True)
class LearningRateSchedule:
    """A learning-rate schedule; all times are in rounds and may be fractions.

    Attributes
    ----------
    kind : {"constant", "step", "multi_step", "cosine", "linear"}
        ``step`` multiplies the rate by ``gamma`` each time ``every`` rounds are done,
        ``multi_step`` when each number of rounds in ``at`` is done. ``cosine`` and
        ``linear`` fall from the full rate at the end of the warm-up to zero when ``over``
        rounds are done.
    by : {"round", "batch"}
        Whether the rate changes only between rounds or with every batch.
    warmup : float
        Rounds of linear warm-up. By round, the first of n rounds has 1/n of the rate and
        the last has the full rate; by batch, the rate rises from zero.
    """

    kind: str = "constant"
    every: float = math.inf
    at: tuple[float, ...] = ()
    gamma: float = 0.1
    over: float = math.inf
    warmup: float = 0.0
    by: str = "round"

    def __call__(self, progress: float) -> float:
        """Return the factor of the rate after ``progress`` rounds."""
        now = float(math.floor(progress)) if self.by == "round" else progress
        warm = now + 1 if self.by == "round" else now
        if warm < self.warmup:
            return warm / self.warmup
        match self.kind:
            case "step":
                return self.gamma ** math.floor(now / self.every)
            case "multi_step":
                return self.gamma ** bisect_right(self.at, now)
            case "cosine":
                return 0.5 * (1 + math.cos(math.pi * self._fallen(now)))
            case "linear":
                return 1.0 - self._fallen(now)
        return 1.0

    def _fallen(self, now: float) -> float:
        """Return the elapsed fraction of the decay, 0 to 1."""
        share = (now - self.warmup) / (self.over - self.warmup)
        return min(1.0, max(0.0, share))


def parse_schedule(text: str, rounds: int) -> LearningRateSchedule:
    """Read a schedule from its text in a run configuration.

    Parameters
    ----------
    text : str
        A kind and its settings: ``"multi_step at=60,120 gamma=0.2 warmup=5"``.
    rounds : int
        Rounds of the run: default end of a cosine or linear decay.

    Raises
    ------
    ValueError
        The text is not valid; the message gives the error and the valid values.
    """
    kind, *words = text.split() or [""]
    if kind not in KINDS:
        raise ValueError(f"valid are {', '.join(KINDS)}, with settings after it")
    allowed = sorted(_MAY[kind] | _ANY)
    values: dict[str, Any] = {"over": float(rounds)} if kind in FALLING else {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in allowed:
            raise ValueError(f"{word!r} is no setting of {kind}; valid are {', '.join(allowed)}")
        values[name] = _setting(name, value)
    needed = _NEEDS.get(kind)
    if needed and needed not in values:
        example = "every=30" if needed == "every" else "at=60,120"
        raise ValueError(f"{kind} needs {needed}, e.g. {example!r}")
    schedule = LearningRateSchedule(kind, **values)
    if kind in FALLING and schedule.over <= schedule.warmup:
        raise ValueError(
            f"the {kind} ends after {schedule.over:g} rounds, but its warm-up takes "
            f"{schedule.warmup:g}"
        )
    return schedule


def _setting(name: str, text: str) -> Any:
    if name == "by":
        if text not in UNITS:
            raise ValueError(f"by={text!r}; valid are {', '.join(UNITS)}")
        return text
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"{name}={text!r}; a number is needed") from None
    if name == "at":
        if list(numbers) != sorted(set(numbers)) or not numbers[0] > 0 or numbers[-1] == math.inf:
            raise ValueError(f"at={text!r}; rounds above 0 in ascending order are needed")
        return numbers
    if len(numbers) > 1 or not _valid(name, numbers[0]):
        above = "0 or more" if name == "warmup" else "above 0"
        raise ValueError(f"{name}={text!r}; one finite number {above} is needed")
    return numbers[0]


def _valid(name: str, number: float) -> bool:
    return 0 <= number < math.inf if name == "warmup" else 0 < number < math.inf


def set_rate(optimizer: "torch.optim.Optimizer", schedule: Schedule, progress: float) -> None:
    """Set the current learning rate of an optimizer.

    Its groups keep the original rate as ``initial_lr``, torch's own name for it.
    """
    factor = schedule(progress)
    for group in optimizer.param_groups:
        group["lr"] = factor * group.setdefault("initial_lr", group["lr"])
