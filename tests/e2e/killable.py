"""A whole run in one process, to be killed: ``python -m tests.e2e.killable FILE``."""

import json
import sys
from pathlib import Path

from flwr.app import Context, RecordDict

from fsl_sage_flwr.client_app import app
from fsl_sage_flwr.server_app import main

from ..memory_grid import MemoryGrid

if __name__ == "__main__":
    config = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    main(MemoryGrid(app, 2, run_config=config), Context(1, 0, {}, RecordDict(), config))
