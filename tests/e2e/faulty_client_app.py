"""This package's ClientApp with the faults of a file that an environment variable names.

``faults.faulty_app`` copies this file into a Flower app.
"""

import json
import os
import time
from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context, Message
from flwr.clientapp.typing import ClientAppCallable

from fsl_sage_flwr.app.assembly import build_task
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.task import SplitTask

DIRECTORY = "FSL_SAGE_TEST_FAULTS"  # of faults.json and the marks


def _directory() -> Path:
    return Path(os.environ[DIRECTORY])


def fault_of(message: Message, context: Context) -> str:
    """Return the fault that is due: the file has ``{"partition": {"round": fault}}``, from 1.

    In SplitFed it comes with the second exchange, when the first batch is trained on.
    """
    config = message.content.config_records.get("config", {})
    if config.get("exchange", 1) != 1 or "round" not in config:
        return ""
    faults = json.loads((_directory() / "faults.json").read_text(encoding="utf-8"))
    mine = faults.get(str(context.node_config["partition-id"]), {})
    return str(mine.get(str(int(config["round"]) + 1), ""))


def break_down(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Raise, die, or wait (also until a file is there) instead of what the message asks for.

    "late" does it and has its answer lost, as it is when it comes after the deadline; "huge" sends
    smashed data for which no loss is finite, "empty" nothing. A file marks that a client has got
    to its fault.
    """
    kind, _, argument = fault_of(message, context).partition(" ")
    if kind:
        (_directory() / f"client{context.node_config['partition-id']}").touch()
    if kind == "raise":
        raise RuntimeError("an injected fault")
    if kind == "die":
        os._exit(1)  # as the kernel does to a process that takes too much memory
    if kind == "wait":
        time.sleep(float(argument))
    while kind == "until" and not (_directory() / argument).exists():
        time.sleep(0.5)
    reply = call_next(message, context)
    if kind == "late":
        raise RuntimeError("its answer came too late")
    if kind == "empty":
        for name in list(reply.content):
            del reply.content[name]
    if kind == "huge":
        smashed = reply.content.array_records["smashed"].to_torch_state_dict()
        huge = {name: torch.full_like(tensor, 3e38) for name, tensor in smashed.items()}
        reply.content["smashed"] = ArrayRecord(huge)
    return reply


def task(context: Context) -> SplitTask:
    """Build this package's own task."""
    return build_task(RunConfig.from_run_config(context.run_config))


app = build_client_app(task, mods=[break_down])
