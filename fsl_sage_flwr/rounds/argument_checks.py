"""Read a strategy's arguments; refuse those that do not fit its algorithm or its task."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches

from ..task import SplitTask
from .aggregation.aggregation import Aggregation
from .asynchrony.asynchrony import Asynchrony
from .strategy_arguments import StrategyArguments, StrategySettings


def check_task(strategy: type, given: Sequence[object], named: Mapping[str, object]) -> None:
    """Refuse what is no task, such as the halves of a model, where a constructor takes one.

    Raises
    ------
    ValueError
        The first argument is ``task``, and no task is given for it.
    """
    task = given[0] if given else named.get("task")
    takes_task = _own_arguments(strategy)[:1] == ["task"]
    if takes_task and (given or named) and not isinstance(task, SplitTask):
        raise ValueError(
            f"task is a {type(task).__name__}; {strategy.__name__} takes a SplitTask: "
            f"{strategy.__name__}(SplitTask(halves, example, num_classes, train_batches))"
        )


def _own_arguments(strategy: type) -> list[str]:
    """Return the named arguments of the first constructor among a strategy's classes."""
    constructor = next(
        vars(each)["__init__"] for each in strategy.__mro__ if "__init__" in vars(each)
    )
    _, *parameters = inspect.signature(constructor).parameters.values()
    return [each.name for each in parameters if each.kind is not each.VAR_KEYWORD]


def read(strategy: type, settings: StrategySettings) -> StrategyArguments:
    """Return the arguments that every strategy takes.

    Raises
    ------
    TypeError
        There is no such argument; names it and a similar one of the strategy.
    ValueError
        A value is out of its bounds.
    """
    common = [field.name for field in fields(StrategyArguments)]
    for name in (name for name in settings if name not in common):
        close = get_close_matches(name, [*_own_arguments(strategy), *common], n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"help({strategy.__name__}) lists all"
        raise TypeError(f"{strategy.__name__} has no argument {name!r}: {hint}")
    return StrategyArguments(**settings)


def check_evaluation(task: SplitTask, fraction_evaluate: float) -> None:
    """Refuse federated evaluation of a task whose clients have no validation part.

    Raises
    ------
    ValueError
        ``fraction_evaluate`` is above 0, and the task has no ``validation_batches``.
    """
    if fraction_evaluate > 0 and task.validation_batches is None:
        raise ValueError(
            f"fraction_evaluate = {fraction_evaluate:g} needs a task whose clients have "
            "a validation part: give SplitTask validation_batches, or set it to 0"
        )


def check_privacy(task: SplitTask, algorithm: str, *, private_steps: bool) -> None:
    """Refuse DP-SGD on the clients of an algorithm that takes no such steps.

    Raises
    ------
    ValueError
        The task has ``client_privacy``, and the algorithm takes no such steps.
    """
    if task.client_privacy is not None and not private_steps:
        raise ValueError(
            f"client_privacy: clients of {algorithm} take no steps with one gradient "
            "per sample, or send more than such steps make; leave it out"
        )


def refuse_training(algorithm: str, given: StrategyArguments) -> None:
    """Refuse arguments on the clients' training, for an algorithm whose clients train nothing.

    Raises
    ------
    ValueError
        ``fed_opt`` or ``proximal_mu`` is given.
    """
    if given.fed_opt is not None or given.proximal_mu:
        raise ValueError(
            f"fed_opt, proximal_mu: clients of {algorithm} train nothing; leave both out"
        )


def check_tail(task: SplitTask, algorithm: str, *, labels_may_stay: bool) -> None:
    """Refuse a model with a tail where the server needs labels, or with DP-SGD.

    Raises
    ------
    ValueError
        The model has a tail, and labels must reach the server or clients take DP-SGD's steps.
    """
    if task.model.tail is None:
        return
    if not labels_may_stay:
        raise ValueError(
            f"the model has a tail at {task.model.tail_cut!r}, and {algorithm} needs "
            "the labels beside the smashed data: cut the model without tail=…, or use an "
            "algorithm whose clients exchange each batch for its gradient"
        )
    if task.client_privacy is not None:
        raise ValueError(
            "client_privacy: clients with a tail send gradients of hidden states, which DP-SGD "
            "does not cover; leave it out, or cut the model without tail=…"
        )


def asynchrony_for(
    algorithm: str,
    given: StrategyArguments,
    aggregation: Aggregation,
    *,
    replies_may_be_late: bool,
    completes_batches: bool,
) -> Asynchrony | None:
    """Return the merging of late replies; None if a round waits for all replies.

    ``completes_batches`` states whether a server half does, as ``generate`` asks.

    Raises
    ------
    ValueError
        The algorithm cannot merge them, or another argument does not fit.
    """
    options = given.asynchrony
    if options is None or not options.buffer:
        return None
    problem = options.problem_with(
        fraction_reply=given.fraction_reply,
        min_train_nodes=given.min_train_nodes,
        fewest=aggregation.fewest,
    )
    if not replies_may_be_late:
        problem = f"{algorithm} needs its clients in step; leave it out"
    if problem is not None:
        raise ValueError(f"async.buffer = {options.buffer}: {problem}")
    if options.generate and not completes_batches:
        raise ValueError(
            f"async.generate = {options.generate}: {algorithm} has no server half whose batches "
            "are completed; leave it out"
        )
    return Asynchrony(options)
