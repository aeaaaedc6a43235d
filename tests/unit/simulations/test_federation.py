"""What Flower and Ray are told of a simulation's clients."""

import pytest

from fsl_sage_flwr.simulations.federation import INLINE, MOST_NODES, Federation


@pytest.mark.parametrize(
    ("clients", "address", "nodes", "sharing"),
    [
        (MOST_NODES, None, MOST_NODES, 0),
        (MOST_NODES + 1, None, MOST_NODES, MOST_NODES + 1),
        (10_000, None, MOST_NODES, 10_000),
        (10_000, "10.0.0.1:6379", 10_000, 0),
    ],
)
def test_many_clients_share_nodes_but_not_on_several_machines(
    clients: int, address: str | None, nodes: int, sharing: int
) -> None:
    federation = Federation(clients=clients, ray_address=address)
    assert federation.options_for_flower()["num-supernodes"] == nodes
    assert federation.virtual_clients == sharing
    assert federation.record()["num-supernodes"] == clients


def test_inline_clients_have_nodes_of_their_own_and_no_options_of_ray() -> None:
    federation = Federation(clients=10_000, engine=INLINE)
    assert federation.virtual_clients == 0
    assert federation.record() == {"num-supernodes": 10_000, "engine": "inline"}
