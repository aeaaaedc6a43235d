"""A ClientApp, and what Flower's runtime sets before a message can be made."""

from flwr.clientapp import ClientApp

from ...memory_grid import MemoryGrid
from ...tasks import small_app

app_of_a_test: ClientApp = small_app()


def set_the_ids_of_a_run() -> None:
    """As Flower's runtime does; without them no message can be made."""
    MemoryGrid(app_of_a_test, 1)
