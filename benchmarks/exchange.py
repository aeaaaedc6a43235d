"""Compare the time of a SplitFed exchange in the simulation with its floor and its arithmetic.

    python -m benchmarks.exchange [--clients N] [--rounds N] [--batch-size B] [--algorithm NAME]

An exchange is one batch of every client: gradients down, smashed data up, the server half's
step. simple_conv on digits, 10 clients. The *floor* is the time in which all nodes of the same
federation answer a message without data (which client are you?). The *arithmetic* of an exchange
is measured in this process, on one thread. The clients' part is divided by the number of cores,
because one actor per core shares it; the server half's part is not. The rest is overhead.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch

from fsl_sage_flwr.app.assembly import build_task
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.cpus import usable_cpus
from fsl_sage_flwr.seeding import derive_seed
from fsl_sage_flwr.simulations.app_directory import write_app
from fsl_sage_flwr.simulations.federation import Federation
from fsl_sage_flwr.simulations.run import simulate
from fsl_sage_flwr.simulations.superlink import SuperLink
from fsl_sage_flwr.splitting import answer_step, client_forward, client_step
from fsl_sage_flwr.task import ClientIdentity

EXCHANGES = 40
FLOOR_APP = """
import json, time
from collections import deque
from pathlib import Path
from flwr.app import Message, RecordDict
from flwr.serverapp import ServerApp
from fsl_sage_flwr.messages import DESCRIBE, CommunicationLedger
from fsl_sage_flwr.rounds.grid.reply_stream import ReplyStream
from fsl_sage_flwr.strategies import SplitGrid

app = ServerApp()


@app.main()
def main(grid, context):
    wrapped = SplitGrid(grid, CommunicationLedger(), lambda *_: [])
    while len(list(wrapped.get_node_ids())) < {clients}:
        time.sleep(0.2)
    seconds = []
    for _ in range({exchanges} + 5):
        began = time.perf_counter()
        questions = [Message(RecordDict(), n, DESCRIBE, ttl=300.0) for n in wrapped.get_node_ids()]
        deque(ReplyStream(wrapped, questions, timeout=300.0), maxlen=0)
        seconds.append(time.perf_counter() - began)
    Path(context.run_config["results-dir"]).write_text(json.dumps(seconds[5:]))
"""


def floor(federation: Federation) -> float:
    """Return the median seconds until all nodes have answered an empty message."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        app, answer = write_app(directory), directory / "seconds.json"
        table = app / "pyproject.toml"
        ours, theirs = "fsl_sage_flwr.server_app:app", "fsl_sage_flwr.floor:app"
        table.write_text(table.read_text(encoding="utf-8").replace(ours, theirs), encoding="utf-8")
        # The app takes the package's files along, and no others.
        (app / "fsl_sage_flwr" / "floor.py").write_text(
            FLOOR_APP.format(clients=federation.clients, exchanges=EXCHANGES), encoding="utf-8"
        )
        settings = directory / "run-config.toml"
        settings.write_text(f"results-dir = {json.dumps(str(answer))}\n", encoding="utf-8")
        with SuperLink(
            directory, app, directory / "run.log", federation.cpus_per_client, usable_cpus()
        ) as superlink:
            run_id = superlink.run(app, settings, federation.options())
            while not superlink.status(run_id).startswith("finished"):
                time.sleep(1)
            if not answer.is_file():
                raise SystemExit(f"the floor's run failed: {superlink.status(run_id)}")
        return float(pd.Series(json.loads(answer.read_text(encoding="utf-8"))).median())


def arithmetic(config: RunConfig, clients: int) -> tuple[float, float]:
    """Return the seconds of one exchange's client and server steps, on one thread."""
    torch.set_num_threads(1)
    task = build_task(config)
    client_optimizer = task.client_optimizer(list(task.model.client.parameters()))
    server_optimizer = task.optimizer_of_server(task.model.server)
    on_clients = on_server = 0.0
    exchanges = 0
    for client in range(clients):
        seed = derive_seed(config.seed, "batches", 0, client, 0)
        for inputs, labels in task.train_batches(ClientIdentity(client, clients), seed):
            began = time.perf_counter()
            smashed = client_forward(task.model.client, inputs, task.autocast)
            sent = time.perf_counter()
            _, gradients = answer_step(
                task.model.server, server_optimizer, tuple(t.detach() for t in smashed), labels,
                task.objective, task.autocast,
            )  # fmt: skip
            answered = time.perf_counter()
            client_step(client_optimizer, smashed, gradients, 1)
            stepped = time.perf_counter()
            on_clients += sent - began + stepped - answered
            on_server += answered - sent
            exchanges += 1
    per_client = exchanges / clients
    return on_clients / per_client, on_server / per_client


def main() -> None:
    parser = argparse.ArgumentParser(description="Time SplitFed's exchanges.")
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--algorithm", default="sl_single_server")
    options = parser.parse_args()
    cores = usable_cpus()
    federation = Federation(clients=options.clients, cpus_per_client=1, cpus=cores)
    with tempfile.TemporaryDirectory() as results:
        config = RunConfig.from_run_config(
            {
                "algorithm": options.algorithm,
                "num-server-rounds": options.rounds,
                "batch-size": options.batch_size,
                "checkpoint-interval": 0,
                "results-dir": results,
            }
        )
        smallest = floor(federation)
        summary, path = simulate(config, federation)
        if not summary["completed"]:
            raise SystemExit(f"the run failed: {summary}")
        history = pd.read_csv(path / "history.csv").iloc[2:]
    task = build_task(config)
    batches = len(list(task.train_batches(ClientIdentity(0, options.clients), 0)))
    messages = batches + 1  # the last one sends gradients down and the client half up
    exchange = float((history["seconds"] - history["evaluation_seconds"]).median()) / messages
    on_clients, on_server = arithmetic(config, options.clients)
    work = (on_clients / cores + on_server) * batches / messages
    handlers = float(history["client_seconds"].median()) / messages / cores
    print(
        f"{options.algorithm}, {options.clients} clients, {batches} batches a round, {cores} cores"
    )
    print(f"  an exchange     {exchange:.3f} s (median of {len(history)} rounds / {messages})")
    print(f"  the floor       {smallest:.3f} s (an empty question to all nodes)")
    print(f"  the arithmetic  {work:.3f} s")
    print(f"  overhead        {exchange - smallest - work:.3f} s")
    print(f"  (the clients' handlers, divided by the cores: {handlers:.3f} s)")


if __name__ == "__main__":
    main()
