"""Check the arguments of a strategy's constructor before it reads them."""

import inspect
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import get_args

from ...task import SplitTask


def check_task(task: object, strategy: str) -> None:
    """Refuse what is no task, such as the halves of a model.

    Raises
    ------
    ValueError
        Names the strategy and what to give.
    """
    if not isinstance(task, SplitTask):
        raise ValueError(
            f"task is a {type(task).__name__}; {strategy} takes a SplitTask: "
            f"{strategy}(SplitTask(halves, example, num_classes, train_batches))"
        )


def check_names(
    given: Iterable[str], strategies: Collection[type], common: type, strategy: str
) -> None:
    """Refuse keyword arguments that neither a strategy nor one of its bases has.

    A strategy that takes any others than those in ``common``, a ``TypedDict``, is not checked.

    Raises
    ------
    TypeError
        Names the argument and a similar one.
    """
    known = list[str]()
    for own in filter(None, (vars(each).get("__init__") for each in strategies)):
        for name, parameter in inspect.signature(own).parameters.items():
            if parameter.kind is not parameter.VAR_KEYWORD:
                known += [name] if name != "self" else []
            elif get_args(parameter.annotation) != (common,):
                return
    for name in given:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"help({strategy}) lists all"
            raise TypeError(f"{strategy} has no argument {name!r}: {hint}")
