"""Step from a round's weights towards the clients' average with a server optimizer of Flower."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvgM, FedYogi
from torch import Tensor

from ...config import Options, setting
from ...diverged import DivergedError
from ...messages import message_outside_a_run
from ...messages.records import is_finite
from ...state import State

ServerOptimizer = FedAdagrad | FedAdam | FedAvgM | FedYogi
FedOpt = Callable[[], ServerOptimizer]
"""Makes one of Flower's strategies that step from the old weights towards the average."""

FED_AVG = "fedavg"
KINDS: Mapping[str, Callable[..., ServerOptimizer]] = {
    "fedadam": FedAdam,
    "fedyogi": FedYogi,
    "fedavgm": FedAvgM,
}
ADAPTIVE = ("eta", "beta_1", "beta_2", "tau")
WITH_MOMENTUM = ("server_learning_rate", "server_momentum")
ARGUMENTS = {"fedadam": ADAPTIVE, "fedyogi": ADAPTIVE, "fedavgm": WITH_MOMENTUM}
MOMENTS = ("m_t", "v_t", "momentum_vector")


@dataclass(frozen=True)
class FedOptOptions(Options):
    """Server optimizer of what clients train, with the names and arguments of Flower's classes."""

    optimizer: str = setting(
        FED_AVG,
        "step towards the clients' average of client halves, heads, and the server halves of "
        "clients: `fedavg` takes the average",
        key="fedopt.optimizer",
        choices=(FED_AVG, *KINDS),
    )
    eta: float = setting(0.1, "learning rate of `fedadam` and `fedyogi`", key="fedopt.eta", gt=0)
    beta_1: float = setting(0.9, "decay of the first moment", key="fedopt.beta-1", ge=0, le=0.9999)
    beta_2: float = setting(
        0.99, "decay of the second moment", key="fedopt.beta-2", ge=0, le=0.9999
    )
    tau: float = setting(
        1e-3, "number added to the root of the second moment", key="fedopt.tau", gt=0
    )
    server_learning_rate: float = setting(
        1.0, "learning rate of `fedavgm`", key="fedopt.server-learning-rate", gt=0
    )
    server_momentum: float = setting(
        0.9, "momentum of `fedavgm`", key="fedopt.server-momentum", ge=0, le=1
    )

    def unused(self) -> dict[str, str]:
        """Return the arguments that the optimizer does not have."""
        own = ARGUMENTS.get(self.optimizer, ())
        others = [name for name in (*ADAPTIVE, *WITH_MOMENTUM) if name not in own]
        keys = [f"fedopt.{name.replace('_', '-')}" for name in others]
        return dict.fromkeys(keys, "fedopt.optimizer")

    def fed_opt(self) -> FedOpt | None:
        """Return what makes Flower's strategy; None for the average itself."""
        if self.optimizer == FED_AVG:
            return None
        arguments = {name: getattr(self, name) for name in ARGUMENTS[self.optimizer]}
        return partial(KINDS[self.optimizer], **arguments)


class ServerStep(State):
    """One step a round from old weights towards their average, taken by Flower's strategy.

    Flower's strategy gets the average as the only reply, with weight 1. It steps on trained
    parameters alone; buffers, such as BatchNorm's statistics and counters, and frozen parameters
    keep the average. 16-bit parameters are computed in float32.

    Its round is the number of its steps: a resumed run continues with it, and a round that failed,
    which takes no step, does not count for the bias correction of ``FedAdam``.

    Parameters
    ----------
    fed_opt : callable
        Makes Flower's ``FedAdam``, ``FedYogi``, ``FedAdagrad`` or ``FedAvgM``.
    parameters : collection of str
        Names of the trained parameters.

    Raises
    ------
    TypeError
        ``fed_opt`` makes something else.
    """

    def __init__(self, fed_opt: FedOpt, parameters: Collection[str]) -> None:
        self._flower = fed_opt()
        if not isinstance(self._flower, ServerOptimizer):
            raise TypeError(
                f"fed_opt makes a {type(self._flower).__name__}; FedAdagrad, FedAdam, FedAvgM or "
                "FedYogi of flwr.serverapp.strategy is needed"
            )
        self._parameters = frozenset(parameters)
        self._steps = 0

    def step(
        self, before: Mapping[str, Tensor], average: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the average with its parameters replaced by those after the step.

        Parameters
        ----------
        before : Mapping
            Weights that the clients started from.
        average : Mapping
            Average of what they trained, on the CPU.

        Raises
        ------
        DivergedError
            The step leaves values that are not finite.
        """
        names = [name for name in average if name in self._parameters]
        if not names:
            return dict(average)
        flower, old = self._flower, _record({name: before[name] for name in names})
        if isinstance(flower, FedAvgM):
            flower.current_arrays = old
        else:
            flower.current_arrays = {name: array.numpy() for name, array in old.items()}
        reply = RecordDict(
            {
                "arrays": _record({name: average[name] for name in names}),
                "metrics": MetricRecord({flower.weighted_by_key: 1}),
            }
        )
        with _without_count_of_replies():
            stepped, _ = flower.aggregate_train(
                self._steps + 1, [message_outside_a_run(reply, 0, "train", 1.0)]
            )
        self._steps += 1
        after = dict(average)
        for name, array in (stepped or {}).items():
            after[name] = torch.from_numpy(np.asarray(array.numpy())).to(average[name].dtype)
            if not is_finite(after[name]):
                raise DivergedError(
                    f"{type(flower).__name__}'s step leaves values in {name!r} that are not "
                    "finite; lower fedopt.eta or fedopt.server-learning-rate"
                )
        return after

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps and the moments."""
        found: dict[str, Any] = {"steps": self._steps}
        for moment in MOMENTS:
            values = getattr(self._flower, moment, None)
            if values:
                # FedAvgM has a list, in the order of the parameters.
                named = values if isinstance(values, dict) else dict(enumerate(values))
                found[moment] = {n: torch.from_numpy(np.asarray(v)) for n, v in named.items()}
        return found

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore both."""
        self._steps = int(state["steps"])
        for moment in MOMENTS:
            if hasattr(self._flower, moment):
                values = {n: tensor.numpy() for n, tensor in state.get(moment, {}).items()}
                is_list = isinstance(self._flower, FedAvgM)
                setattr(
                    self._flower, moment, (list(values.values()) if is_list else values) or None
                )


def _record(tensors: Mapping[str, Tensor]) -> ArrayRecord:
    """Return values for Flower's arithmetic: 16 bits lose the squares of small updates."""
    arrays = {}
    for name, tensor in tensors.items():
        values = tensor.detach().cpu()
        is_short = values.dtype in (torch.float16, torch.bfloat16)
        arrays[name] = Array((values.float() if is_short else values).numpy())
    return ArrayRecord(arrays)


@contextmanager
def _without_count_of_replies() -> Iterator[None]:
    """Drop Flower's log line on the number of replies: the average is one, clients are many."""

    def is_another(line: logging.LogRecord) -> bool:
        return line.funcName != "_check_and_log_replies"

    flowers = logging.getLogger("flwr")
    flowers.addFilter(is_another)
    try:
        yield
    finally:
        flowers.removeFilter(is_another)
