"""Build a ClientApp that handles the messages of all registered algorithms."""

from collections.abc import Callable
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Context, Message
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable

from ..algorithm_registry import Handler, handlers
from ..batch_check import explaining_other_sizes
from ..compression.client import ClientCompression
from ..compression.settings import COMPRESSION
from ..messages import DESCRIBE, FORGET
from ..messages.arrays import serialized
from ..messages.records import CONFIG
from . import evaluation
from .client_state import ClientState
from .forget import forget
from .identity import ClassesOf, describe
from .local_batches import explaining_single_samples
from .short_errors import short_errors_mod
from .simulated import Simulated
from .task_cache import BuildTask, function_of, task_of
from .virtual_client import virtual_client_mod


def build_client_app(
    task: BuildTask,
    mods: list[Any] | None = None,
    train_mods: list[Any] | None = None,
    classes: ClassesOf | None = None,
) -> ClientApp:
    """Build a ClientApp from a task.

    Parameters
    ----------
    task : callable
        Builds the task from Flower's Context; called once per run in each process.
    mods : list of callable, optional
        Flower mods, run around every message: ``arrays_size_mod``, ``message_size_mod``.
    train_mods : list of callable, optional
        Flower mods, run around the messages that bring the trained weights. Those that want
        a single ArrayRecord, ``fixedclipping_mod`` and its like, work with an algorithm whose
        messages carry weights alone, not with heads, smashed data or gradients beside them.
    classes : callable, optional
        From Flower's Context to the :class:`~fsl_sage_flwr.classes.Classes` of the node's data. A
        node whose classes are not those of the server's task is excluded from the run. By default
        they are not compared.

    Returns
    -------
    ClientApp
        To be named ``app`` in the module that ``pyproject.toml`` points to.

    Raises
    ------
    ValueError
        ``task`` is not callable, a :class:`SplitTask` for example.

    Examples
    --------
    >>> app = build_client_app(lambda context: make_task(context.run_config))
    """
    if not callable(task):
        raise ValueError(
            f"task is a {type(task).__name__}; give a function that builds the task from Flower's "
            "Context: build_client_app(lambda context: …)"
        )
    simulated = Simulated()
    outer = [short_errors_mod(simulated), virtual_client_mod(simulated), wire_mod]
    app = ClientApp(mods=[*outer, *(mods or [])])
    own = {DESCRIBE: _described(function_of(task)[0].__module__, classes), FORGET: forget}
    for message_type, answer in own.items():
        category, _, identifier = message_type.partition(".")
        getattr(app, category)(identifier)(answer)
    known = handlers()
    if not known:
        raise RuntimeError(
            "no algorithm is registered: write `from fsl_sage_flwr import build_client_app`, which "
            "registers all of the package, or import fsl_sage_flwr.algorithms"
        )
    for message_type, handler in {**evaluation.HANDLERS, **known}.items():
        category, _, identifier = message_type.partition(".")
        around = train_mods if category == "train" else None
        getattr(app, category)(identifier, mods=around)(_with_task(handler, task))
    return app


def wire_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Decode a request's tensors and encode the reply's, each of them once.

    Other mods and the handlers are inside of this one, and see arrays without a codec. Their
    replies hold tensors that are not serialized yet, see
    :class:`~fsl_sage_flwr.messages.arrays.TensorArray`.
    """
    config = message.content.config_records.get(CONFIG, ConfigRecord())
    coded = COMPRESSION in config
    compression = ClientCompression(ClientState(context), config) if coded else None
    if compression is not None:
        compression.decode(message.content)
    reply = call_next(message, context)
    if reply.has_content():
        if compression is not None:
            compression.encode(reply.content)
        for name, record in list(reply.content.items()):
            if isinstance(record, ArrayRecord):
                reply.content[name] = serialized(record)
    return reply


def _described(app_module: str, classes: ClassesOf | None) -> Callable[[Message, Context], Message]:
    def handle(message: Message, context: Context) -> Message:
        return describe(message, context, app_module, classes)

    return handle


def _with_task(handler: Handler, build: BuildTask) -> Callable[[Message, Context], Message]:
    def handle(message: Message, context: Context) -> Message:
        with explaining_single_samples(), explaining_other_sizes():
            return handler(message, context, task_of(build, context))

    return handle
