"""Ask a Ray cluster for its nodes: ``python -m fsl_sage_flwr.simulations.ray_nodes HOST:PORT``.

A process of its own, since only the end of a process ends all that Ray begins in it.
"""

import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import ray


def main() -> None:
    """Print what each living node has, as JSON, and nothing else."""
    # Ray reports a node that died lately on standard output, whatever its logging is set to.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    ray.init(address=sys.argv[1], logging_level=logging.CRITICAL, log_to_driver=False)
    nodes: Callable[[], list[dict[str, Any]]] = ray.nodes  # Ray declares no types of it
    with answer:
        json.dump([node["Resources"] for node in nodes() if node["Alive"]], answer)


if __name__ == "__main__":
    main()
