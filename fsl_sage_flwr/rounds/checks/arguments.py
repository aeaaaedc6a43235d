"""Check the arguments of a strategy's constructor before it reads them."""

import inspect
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import get_args

from ...task import SplitTask


def check_constructor(
    given: Sequence[object], named: Mapping[str, object], strategies: Sequence[type], common: type
) -> None:
    """Refuse what is no task, such as the halves of a model, and arguments that do not exist.

    A strategy with a first argument other than ``task`` is not checked, and the names of arguments
    not in one that takes any others than those in ``common``, a ``TypedDict``.

    Raises
    ------
    ValueError
        The task is none; names the strategy and what to give.
    TypeError
        Neither the strategy nor one of its bases has an argument; names it and a similar one.
    """
    strategy = strategies[0].__name__
    owns = [own for own in (vars(each).get("__init__") for each in strategies) if own is not None]
    if list(inspect.signature(owns[0]).parameters)[1:2] != ["task"]:
        return
    task = given[0] if given else named.get("task")
    if not isinstance(task, SplitTask):
        raise ValueError(
            f"task is a {type(task).__name__}; {strategy} takes a SplitTask: "
            f"{strategy}(SplitTask(halves, example, num_classes, train_batches))"
        )
    known = list[str]()
    for own in owns:
        for name, parameter in inspect.signature(own).parameters.items():
            if parameter.kind is not parameter.VAR_KEYWORD:
                known += [name] if name != "self" else []
            elif get_args(parameter.annotation) != (common,):
                return
    for name in named:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"help({strategy}) lists all"
            raise TypeError(f"{strategy} has no argument {name!r}: {hint}")
