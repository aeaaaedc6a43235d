"""Learning-rate schedules, as functions of how many rounds are done."""

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

# From progress in rounds (2.5 is in the middle of the third) to a factor of the rate.
Schedule = Callable[[float], float]

# What a kind must and may be given, beside what any may.
_NEEDS: dict[str, str] = {"step": "every", "multi_step": "at"}
_MAY: dict[str, set[str]] = {
    "constant": set(),
    "step": {"every", "gamma"},
    "multi_step": {"at", "gamma"},
    "cosine": {"over"},
}
_ANY = {"warmup", "by"}
KINDS = tuple(_MAY)
UNITS = ("round", "batch")


def constant(progress: float) -> float:
    """Leave the rate as it is."""
    return 1.0


@dataclass(frozen=True)
class LearningRateSchedule:
    """A schedule by name; all its times are in rounds, fractions allowed.

    Attributes
    ----------
    kind : {"constant", "step", "multi_step", "cosine"}
        ``step`` multiplies the rate by ``gamma`` after ``every`` so many rounds,
        ``multi_step`` ``at`` these rounds; ``cosine`` goes from the end of the warm-up
        to zero ``over`` so many rounds of the run.
    by : {"round", "batch"}
        Whether the rate changes between rounds only or with every batch.
    warmup : float
        Rounds of linear warm-up. By round the first of n rounds has 1/n of the rate and
        the last all of it; by batch it rises from zero.
    """

    kind: str = "constant"
    every: float = math.inf
    at: tuple[float, ...] = ()
    gamma: float = 0.1
    over: float = math.inf
    warmup: float = 0.0
    by: str = "round"

    def __call__(self, progress: float) -> float:
        """Return the factor of the rate when ``progress`` rounds are done."""
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
                share = (now - self.warmup) / (self.over - self.warmup)
                return 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, share))))
        return 1.0


def parse_schedule(text: str, rounds: int) -> LearningRateSchedule:
    """Read a schedule as a run configuration writes it.

    Parameters
    ----------
    text : str
        A kind and its settings: ``"multi_step at=60,120 gamma=0.2 warmup=5"``.
    rounds : int
        Rounds of the run: where a cosine ends unless ``over`` says otherwise.

    Raises
    ------
    ValueError
        Says what is wrong and what is valid.
    """
    kind, *words = text.split() or [""]
    if kind not in KINDS:
        raise ValueError(f"valid are {', '.join(KINDS)}, with settings after it")
    allowed = sorted(_MAY[kind] | _ANY)
    values: dict[str, Any] = {"over": float(rounds)} if kind == "cosine" else {}
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
    if kind == "cosine" and schedule.over <= schedule.warmup:
        raise ValueError(
            f"the cosine is over after {schedule.over:g} rounds, within its warm-up of "
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


def set_rate(optimizer: torch.optim.Optimizer, schedule: Schedule, progress: float) -> None:
    """Give an optimizer its rate of now.

    The rate it was made with stays in its groups as ``initial_lr``, torch's own name.
    """
    factor = schedule(progress)
    for group in optimizer.param_groups:
        group["lr"] = factor * group.setdefault("initial_lr", group["lr"])
