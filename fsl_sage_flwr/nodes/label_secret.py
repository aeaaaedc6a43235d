"""A Flower mod that gives a node the secret that its labels are randomised with."""

import secrets

from flwr.app import ConfigRecord, Context, Message
from flwr.clientapp.typing import ClientAppCallable

RECORD = "label-secret"
_KEY = "secret"


def label_secret_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Draw the node's secret with its first message of a run, and keep it to the end.

    The data then see it as ``ClientIdentity.secret``, and randomise each label once: whoever
    sees a label in every round learns no more than from the first. It never leaves the node.
    """
    if RECORD not in context.state.config_records:
        context.state[RECORD] = ConfigRecord({_KEY: secrets.token_bytes(32)})
    return call_next(message, context)


def secret_of(context: Context) -> bytes | None:
    """Return the node's secret; None where :func:`label_secret_mod` is not used."""
    record = context.state.config_records.get(RECORD)
    value = None if record is None else record[_KEY]
    return value if isinstance(value, bytes) else None
