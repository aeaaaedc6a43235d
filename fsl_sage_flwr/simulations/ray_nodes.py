"""List the nodes of a Ray cluster: ``python -m fsl_sage_flwr.simulations.ray_nodes HOST:PORT``.

Runs in a separate process, because only the end of a process ends everything that Ray starts in it.
"""

import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import ray


def main() -> None:
    """Print the resources of each living node as JSON, and nothing else."""
    # Ray reports recently died nodes on standard output, whatever its log level.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    ray.init(address=sys.argv[1], logging_level=logging.CRITICAL, log_to_driver=False)
    nodes: Callable[[], list[dict[str, Any]]] = ray.nodes  # Ray declares no types of it
    with answer:
        json.dump([node["Resources"] for node in nodes() if node["Alive"]], answer)


if __name__ == "__main__":
    main()
