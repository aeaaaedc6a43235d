"""A whole run in one process, to be killed."""

import os
from typing import Any

from flwr.app import Context, RecordDict

from fsl_sage_flwr.client_app import app
from fsl_sage_flwr.server_app import main

from ..memory_grid import MemoryGrid


def train(config: dict[str, Any]) -> None:
    """Train with two clients, in silence."""
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
    main(MemoryGrid(app, 2, run_config=config), Context(1, 0, {}, RecordDict(), config))
