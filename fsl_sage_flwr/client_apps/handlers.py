"""What clients do, by message type."""

from collections.abc import Callable, Mapping

from flwr.app import Context, Message

from ..task import SplitTask
from . import evaluation

Handler = Callable[[Message, Context, SplitTask], Message]

HANDLERS: dict[str, Handler] = dict(evaluation.HANDLERS)


def register_handlers(handlers: Mapping[str, Handler]) -> None:
    """Add what clients do with messages of new types, in ClientApps built from now on.

    Raises
    ------
    ValueError
        A message type is taken, or is not ``category.identifier`` as Flower wants it.
    """
    for message_type, handler in handlers.items():
        category, _, identifier = message_type.partition(".")
        if category not in ("train", "evaluate", "query") or not identifier.isidentifier():
            raise ValueError(
                f"message type {message_type!r}: 'train', 'evaluate' or 'query', a dot, and a "
                "name of letters, digits and '_' are needed"
            )
        if HANDLERS.get(message_type, handler) is not handler:
            raise ValueError(f"message type {message_type!r} has a handler; choose another name")
    HANDLERS.update(handlers)
