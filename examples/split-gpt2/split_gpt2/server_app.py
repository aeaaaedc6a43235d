"""The ServerApp: CSE-FSL as a Flower strategy, and the adapter as PEFT's own directory."""

from flwr.serverapp import ServerApp

from fsl_sage_flwr import ClientIdentity, CseFsl, to_record

from .task import adapted, build_task

app = ServerApp()


@app.main()
def main(grid, context):
    task = build_task(context)
    strategy = CseFsl(task, server_update_interval=2)

    def evaluate(server_round, arrays):
        batches = task.train_batches(ClientIdentity(0, 10), seed=0)  # put your texts here
        return to_record(strategy.evaluate(arrays, lambda: batches), "test")

    result = strategy.start(
        grid=grid,
        initial_arrays=strategy.initial_arrays(),
        num_rounds=context.run_config["num-server-rounds"],
        evaluate_fn=evaluate,
    )
    if context.run_config["adapter"]:
        client, server = strategy.model_state(result.arrays)
        trained = {k.removeprefix("model."): v for k, v in {**client, **server}.items()}
        model = adapted(context.run_config["model"])
        model.load_state_dict(trained, strict=False)
        model.save_pretrained(context.run_config["adapter"])
