"""Check the arguments of a strategy's constructor before it reads them."""

import inspect
from collections.abc import Collection, Iterable
from difflib import get_close_matches

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


def check_names(given: Iterable[str], strategies: Collection[type], strategy: str) -> None:
    """Refuse keyword arguments that neither a strategy nor one of its bases has.

    Raises
    ------
    TypeError
        Names the argument and a similar one.
    """
    known = {
        name
        for each in strategies
        for name, parameter in inspect.signature(each.__init__).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    for name in given:
        if name not in known | {"task"}:
            close = get_close_matches(name, sorted(known), n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"valid are {', '.join(known)}"
            raise TypeError(f"{strategy} has no argument {name!r}: {hint}")
