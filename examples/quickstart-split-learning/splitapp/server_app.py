"""quickstart-split-learning: a Flower ServerApp that trains the server half."""

import torch
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp

from fsl_sage_flwr import FslSage, to_record

from .task import build_task, load

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    strategy = FslSage(build_task(context), fraction_train=float(config["fraction-train"]))

    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        test = load(str(config["dataset"]), 1, None)
        return to_record(strategy.evaluate(arrays, lambda: [test]), "test")

    result = strategy.start(
        grid=grid,
        initial_arrays=strategy.initial_arrays(),
        num_rounds=int(config["num-server-rounds"]),
        evaluate_fn=evaluate,
    )
    client_half, server_half = strategy.model_state(result.arrays)
    torch.save({**client_half, **server_half}, "final_model.pt")
