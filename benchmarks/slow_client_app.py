"""Slow this package's ClientApp down to the speed in its node's configuration.

A node with ``flops=1e9`` sleeps as long as a device of 10⁹ FLOP/s would compute, for the
floating-point operations that PyTorch counts. ``benchmarks.deployed_time`` copies this file into a
Flower app.
"""

import time

from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable

from fsl_sage_flwr.app.assembly import build_task
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.splitting.counted_flops import CountedFlops
from fsl_sage_flwr.task import SplitTask


def as_slow_as_its_device(
    message: Message, context: Context, call_next: ClientAppCallable
) -> Message:
    """Handle a message in the seconds that the node's device would take."""
    with CountedFlops() as counted:
        reply = call_next(message, context)
    time.sleep(counted.total / float(context.node_config["flops"]))
    return reply


def task(context: Context) -> SplitTask:
    """Build this package's own task."""
    return build_task(RunConfig.from_run_config(context.run_config))


app = build_client_app(task, mods=[as_slow_as_its_device])
