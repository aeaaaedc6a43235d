"""The ServerApp: FSL-SAGE as a Flower strategy."""

from pathlib import Path

import torch
from flwr.serverapp import ServerApp

from fsl_sage_flwr import FslSage, to_record

from .task import build_task, data

app = ServerApp()


@app.main()
def main(grid, context):
    strategy = FslSage(build_task(context), server_update_interval=2, align_interval=2)

    def evaluate(server_round, arrays):
        return to_record(strategy.evaluate(arrays, lambda: [data(test=True)]), "test")

    result = strategy.start(
        grid=grid,
        initial_arrays=strategy.initial_arrays(),
        num_rounds=context.run_config["num-server-rounds"],
        evaluate_fn=evaluate,
    )
    if context.run_config["results"]:
        client, server = strategy.model_state(result.arrays)
        torch.save({**client, **server}, Path(context.run_config["results"]) / "net.pt")
