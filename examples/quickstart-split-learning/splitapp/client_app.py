"""quickstart-split-learning: a Flower ClientApp that trains the client half."""

from fsl_sage_flwr import build_client_app

from .task import build_task

app = build_client_app(build_task)
