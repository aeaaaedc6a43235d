"""The ClientApp: it speaks every algorithm of the package."""

from fsl_sage_flwr import build_client_app

from .task import build_task

app = build_client_app(build_task)
