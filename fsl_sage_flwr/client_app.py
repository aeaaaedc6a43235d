"""The package's ClientApp."""

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache

from flwr.app import Context, Message, UserConfigValue
from flwr.clientapp.typing import ClientAppCallable

from .app.assembly import build_task, classes_of_node
from .app.config import ConfigError, RunConfig
from .classes import Classes
from .client_apps import (
    build_client_app,
    injected_faults_mod,
    label_secret_mod,
    own_data_folder,
    shared_folder,
    smashed_noise_mod,
)
from .data import DatasetError, private_copies
from .runs.log_lines import show_own_errors_in_one_line, show_times
from .task import SplitTask

DATA_PATH = "data-path"

show_times()
show_own_errors_in_one_line()


@lru_cache(maxsize=8)
def _checked(items: tuple[tuple[str, type[object], UserConfigValue], ...]) -> RunConfig:
    return RunConfig.from_run_config({key: value for key, _, value in items})


def _config(context: Context) -> RunConfig:
    """Return the run's configuration, checked once; it is read for every message.

    Types are part of the cache's key, because ``1`` and ``True`` are equal.
    """
    return _checked(tuple((k, type(v), v) for k, v in context.run_config.items()))


def _data_path(context: Context) -> str | None:
    data_path = context.node_config.get(DATA_PATH)
    if data_path is not None and not isinstance(data_path, str):
        raise ConfigError(
            f"{DATA_PATH} = {data_path!r} in the node's configuration: the absolute path of a "
            "directory is needed, in single quotes"
        )
    return data_path


def _copies(context: Context) -> AbstractContextManager[None]:
    own = _data_path(context) is not None
    return private_copies(own_data_folder(context)) if own else nullcontext()


def _task(context: Context) -> SplitTask:
    with _copies(context):
        return build_task(
            _config(context),
            _data_path(context),
            on_client=True,
            parts_folder=shared_folder("parts", context.run_id),
        )


def _classes(context: Context) -> Classes | None:
    try:
        config = _config(context)
        with _copies(context):
            return classes_of_node(config, _data_path(context))
    except (ConfigError, DatasetError):  # the answer to the first training message says why
        return None


def _smashed_noise(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    privacy = _config(context).privacy
    if not privacy.smashed_clip_norm:
        return call_next(message, context)
    mod = smashed_noise_mod(
        clip_norm=privacy.smashed_clip_norm,
        noise_multiplier=privacy.smashed_noise_multiplier,
        seed=privacy.smashed_noise_seed or None,
    )
    return mod(message, context, call_next)


def _label_secret(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    if not _config(context).privacy.label_epsilon:
        return call_next(message, context)
    return label_secret_mod(message, context, call_next)


def _injected_faults(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    config = _config(context)
    if config.faults.are_none:
        return call_next(message, context)
    mod = injected_faults_mod(
        lost_clients=config.faults.lost_clients,
        cut_links=config.faults.cut_links,
        seed=config.seed,
    )
    return mod(message, context, call_next)


app = build_client_app(
    _task, mods=[_injected_faults, _smashed_noise, _label_secret], classes=_classes
)
