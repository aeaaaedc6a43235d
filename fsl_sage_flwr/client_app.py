"""The ClientApp of this package's own runs."""

from contextlib import nullcontext

from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable

from .app.assembly import build_task
from .app.config import ConfigError, RunConfig
from .client_apps import (
    build_client_app,
    label_secret_mod,
    own_data_folder,
    shared_folder,
    smashed_noise_mod,
)
from .data import private_copies
from .extensions import load_extensions
from .task import SplitTask

DATA_PATH = "data-path"

load_extensions()  # an algorithm's handlers must be known when the app is built


def _task(context: Context) -> SplitTask:
    data_path = context.node_config.get(DATA_PATH)
    if data_path is not None and not isinstance(data_path, str):
        raise ConfigError(
            f"{DATA_PATH} = {data_path!r} in the node's configuration: the absolute path of a "
            "directory is needed, in single quotes"
        )
    with private_copies(own_data_folder(context)) if data_path else nullcontext():
        return build_task(
            RunConfig.from_run_config(context.run_config),
            data_path,
            on_client=True,
            parts_folder=shared_folder("parts", context.run_id),
        )


def _smashed_noise(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    config = RunConfig.from_run_config(context.run_config)
    if not config.smashed_clip_norm:
        return call_next(message, context)
    mod = smashed_noise_mod(
        clip_norm=config.smashed_clip_norm,
        noise_multiplier=config.smashed_noise_multiplier,
        seed=config.smashed_noise_seed or None,
    )
    return mod(message, context, call_next)


def _label_secret(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    if not RunConfig.from_run_config(context.run_config).label_epsilon:
        return call_next(message, context)
    return label_secret_mod(message, context, call_next)


app = build_client_app(_task, mods=[_smashed_noise, _label_secret])
