"""The ServerApp: FSL-SAGE as a Flower strategy, and a recorder of what it does."""

from datetime import datetime

from flwr.serverapp import ServerApp

from fsl_sage_flwr import FslSage, Recorder

from .task import build_task, data, padded

app = ServerApp()


@app.main()
def main(grid, context):
    strategy = FslSage(build_task(context), server_update_interval=2, align_interval=2)
    directory = f"{context.run_config['results']}/{datetime.now():%Y%m%d-%H%M%S}"
    recorder = Recorder(strategy, directory, lambda: padded(data(test=True)))
    recorder.train(grid, context.run_config["num-server-rounds"])
