"""The ClientApp of this package's own runs."""

from flwr.app import Context

from .assembly import build_task
from .client_apps import build_client_app
from .config import RunConfig
from .task import SplitTask


def _task(context: Context) -> SplitTask:
    return build_task(RunConfig.from_run_config(context.run_config))


app = build_client_app(_task)
