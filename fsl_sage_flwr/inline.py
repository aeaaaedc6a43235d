"""Run a ServerApp and a ClientApp in this process, without a SuperLink and without Ray."""

from collections.abc import Mapping

import torch
from flwr.app import Context, RecordDict, UserConfigValue
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from .nodes.client_folder import remove_run
from .nodes.task_cache import forget_tasks
from .rounds.grid.inline_grid import InlineGrid
from .rounds.threads import threads_as_before


def run_inline(
    server_app: ServerApp,
    client_app: ClientApp,
    clients: int = 4,
    run_config: Mapping[str, UserConfigValue] | None = None,
    *,
    threads: int = 1,
) -> Context:
    """Run a ServerApp and its clients in this process: for notebooks, debuggers and tests.

    History and weights are those of Flower's simulation, bit for bit. Clients run one after another
    in the calling thread, so a breakpoint in the task stops there. An exception of a client becomes
    an error reply, as in Flower; one of the ServerApp is raised.

    The ServerApp must use a strategy of this package: Flower's own strategies make messages that
    need Flower's runtime.

    Parameters
    ----------
    server_app, client_app : ServerApp, ClientApp
        As in ``[tool.flwr.app.components]``.
    clients : int
        Number of clients; the client of partition ``k`` has ``partition-id`` k.
    run_config : Mapping, optional
        Run configuration of both apps, complete: no ``pyproject.toml`` is read.
    threads : int
        Number of CPU threads for PyTorch, of the server and of each client. Flower's simulation
        gives a client ``client-resources-num-cpus`` of them, and results depend on the number.

    Returns
    -------
    Context
        The ServerApp's, with what its ``main`` left in ``state``.

    Raises
    ------
    ValueError
        ``clients`` or ``threads`` is below 1, or an app is no app.

    Examples
    --------
    >>> from own_model.client_app import app as client_app
    >>> from own_model.server_app import app as server_app
    >>> run_inline(server_app, client_app, clients=4, run_config={"num-server-rounds": 3})
    """
    for name, value in (("clients", clients), ("threads", threads)):
        if value < 1:
            raise ValueError(f"{name} = {value}: it must be at least 1")
    for name, app, kind, made in (
        ("server_app", server_app, ServerApp, "app = ServerApp() with a main"),
        ("client_app", client_app, ClientApp, "build_client_app(lambda context: …)"),
    ):
        if not isinstance(app, kind):
            raise ValueError(f"{name} is a {type(app).__name__}; give a {kind.__name__}: {made}")
    grid = InlineGrid(client_app, clients, run_config=run_config)
    run_id = grid.run.run_id
    context = Context(
        run_id=run_id,
        node_id=0,
        node_config={},
        state=RecordDict(),
        run_config=dict(run_config or {}),
    )
    with threads_as_before():
        torch.set_num_threads(threads)
        try:
            server_app(grid, context)
        finally:
            forget_tasks()
            remove_run(run_id)
    return context
