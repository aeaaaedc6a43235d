"""Settings of an optimizer: of the client half, and with the prefix ``server-`` of the other."""

from dataclasses import dataclass
from typing import ClassVar

from ..schedules import parse_schedule
from .options import Options
from .setting import setting

ADAM, ADAMW, SGD = "adam", "adamw", "sgd"
OPTIMIZERS = (ADAM, ADAMW, SGD)
CONSTANT = "constant"


def schedule_problem(value: object) -> str | None:
    """Return the problem with the text of a learning-rate schedule, or None."""
    try:
        parse_schedule(str(value), rounds=2**31)
    except ValueError as error:
        return str(error)
    return None


@dataclass(frozen=True)
class OptimizerOptions(Options):
    """Optimizer of the client half."""

    PREFIX: ClassVar[str] = ""
    SUFFIX: ClassVar[str] = ", client half"

    optimizer: str = setting(ADAM, "optimizer", choices=OPTIMIZERS)
    learning_rate: float = setting(1e-3, "learning rate", gt=0)
    weight_decay: float = setting(1e-4, "weight decay", ge=0)
    momentum: float = setting(0.9, "momentum of `sgd`", ge=0, le=1)
    lr_schedule: str = setting(CONSTANT, "learning-rate schedule", check=schedule_problem)

    def unused(self) -> dict[str, str]:
        """Return the momentum, unless the optimizer is SGD."""
        unused = self.optimizer in (ADAM, ADAMW)
        return {f"{self.PREFIX}momentum": f"{self.PREFIX}optimizer"} if unused else {}


@dataclass(frozen=True)
class ServerOptimizerOptions(OptimizerOptions):
    """Optimizer of the server half."""

    PREFIX: ClassVar[str] = "server-"
    SUFFIX: ClassVar[str] = ", server half"
