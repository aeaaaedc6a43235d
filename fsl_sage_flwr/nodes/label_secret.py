"""Flower mod that draws a node's secret for randomised labels."""

import secrets

from flwr.app import ConfigRecord, Context, Message
from flwr.clientapp.typing import ClientAppCallable

RECORD = "label-secret"
_KEY = "secret"


def label_secret_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Draw the node's secret at its first message of a run, and keep it until the end.

    The data receive it as ``ClientIdentity.secret`` and randomise each label once: repeated
    messages reveal no more of a label than the first. The secret never leaves the node.
    """
    if RECORD not in context.state.config_records:
        context.state[RECORD] = ConfigRecord({_KEY: secrets.token_bytes(32)})
    return call_next(message, context)


def secret_of(context: Context) -> bytes | None:
    """Return the node's secret; None without :func:`label_secret_mod`."""
    record = context.state.config_records.get(RECORD)
    value = None if record is None else record[_KEY]
    return value if isinstance(value, bytes) else None
