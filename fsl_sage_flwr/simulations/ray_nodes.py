"""Ask a Ray cluster for its nodes: ``python -m fsl_sage_flwr.simulations.ray_nodes HOST:PORT``.

A process of its own, since only the end of a process ends all that Ray begins in it.
"""

import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import ray


def main() -> None:
    """Print what each living node has, as JSON."""
    ray.init(address=sys.argv[1], logging_level=logging.CRITICAL, log_to_driver=False)
    nodes: Callable[[], list[dict[str, Any]]] = ray.nodes  # Ray declares no types of it
    print(json.dumps([node["Resources"] for node in nodes() if node["Alive"]]))


if __name__ == "__main__":
    main()
