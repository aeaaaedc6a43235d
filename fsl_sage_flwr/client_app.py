"""The ClientApp of this package's own runs."""

from flwr.app import Context

from .assembly import build_task
from .client_apps import build_client_app
from .config import ConfigError, RunConfig
from .task import SplitTask

DATA_PATH = "data-path"


def _task(context: Context) -> SplitTask:
    own = context.node_config.get(DATA_PATH)
    if own is not None and not isinstance(own, str):
        raise ConfigError(
            f"{DATA_PATH} = {own!r} in the node's configuration: the absolute path of a directory "
            "is needed, in single quotes"
        )
    return build_task(RunConfig.from_run_config(context.run_config), own)


app = build_client_app(_task)
