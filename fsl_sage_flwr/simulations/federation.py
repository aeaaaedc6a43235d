"""Describe a simulation's virtual clients and their share of the machine."""

from dataclasses import dataclass

from ..cpus import usable_cpus

# Flower's simulation checks every message in flight for every node, ten times a second, and takes
# one message per node at a time: more nodes make it slower, and too few leave actors idle.
MOST_NODES = 32


# Where the clients run: Flower's simulation, or this process.
RAY, INLINE = "ray", "inline"


@dataclass(frozen=True)
class Federation:
    """Size of the simulated federation, and its share of the machine.

    Attributes
    ----------
    clients : int
        Number of virtual clients.
    cpus_per_client : int
        CPU threads per active client.
    gpus_per_client : float
        Share of a GPU per active client.
    cpus, gpus : int or None
        Number that Ray may use in total; None for all.
    visible_gpus : str or None
        Usable GPUs, as in ``CUDA_VISIBLE_DEVICES``; None for all.
    ray_address : str or None
        ``HOST:PORT`` of an existing Ray cluster for the clients; None starts Ray on this machine.
    engine : str
        ``ray`` or ``inline``, which has no other options than ``clients``.
    """

    clients: int = 4
    cpus_per_client: int = 1
    gpus_per_client: float = 0.0
    cpus: int | None = None
    gpus: int | None = None
    visible_gpus: str | None = None
    ray_address: str | None = None
    engine: str = RAY

    @property
    def virtual_clients(self) -> int:
        """Number of clients that share the simulation's nodes; 0 gives each client a node.

        Clients that share nodes store their state in files on one machine, so on a Ray cluster of
        several machines each client has a node. In this process nodes cost nothing.
        """
        if self.engine == INLINE or self.ray_address is not None or self.clients <= MOST_NODES:
            return 0
        return self.clients

    def ray_cpus(self) -> int:
        """Return the CPUs of a Ray instance started for the run.

        One actor starts per client's share of them, so more than all clients' shares would start
        idle actors.
        """
        there = self.cpus or usable_cpus()
        return min(there, self.clients * self.cpus_per_client)

    def options(self) -> dict[str, float]:
        """Return the user's choices as options of ``flwr run --federation-config``."""
        options: dict[str, float] = {
            "num-supernodes": self.clients,
            "client-resources-num-cpus": self.cpus_per_client,
            "client-resources-num-gpus": self.gpus_per_client,
        }
        if self.cpus is not None:
            options["init-args-num-cpus"] = self.cpus
        if self.gpus is not None:
            options["init-args-num-gpus"] = self.gpus
        return options

    def options_for_flower(self) -> dict[str, float]:
        """Return the federation options for starting a run.

        They contain no CPUs for an existing Ray cluster, which refuses them.
        """
        if self.ray_address is not None:
            return self.options()
        nodes = MOST_NODES if self.virtual_clients else self.clients
        return {
            **self.options(),
            "num-supernodes": nodes,
            "init-args-num-cpus": self.ray_cpus(),
        }

    def record(self) -> dict[str, float | str]:
        """Return the options recorded with a run's results."""
        if self.engine == INLINE:
            return {"num-supernodes": self.clients, "engine": INLINE}
        where = {} if self.ray_address is None else {"ray-address": self.ray_address}
        return {**self.options(), **where}
