"""The virtual clients of a simulation, and what they may use of the machine."""

from dataclasses import dataclass

from ..cpus import usable_cpus

# Flower's simulation looks at every message under way for every node, ten times a second, and
# takes one message of each node at a time: more nodes make it slower, and too few let actors wait.
MOST_NODES = 32


@dataclass(frozen=True)
class Federation:
    """Size of the simulated federation, and what it may use of the machine.

    Attributes
    ----------
    clients : int
        Number of virtual clients.
    cpus_per_client : int
        CPU threads of each client that is working.
    gpus_per_client : float
        Share of a GPU of each client that is working.
    cpus, gpus : int or None
        Total number that Ray may use; None for all.
    visible_gpus : str or None
        Which GPUs these are, as in ``CUDA_VISIBLE_DEVICES``; None for all.
    ray_address : str or None
        ``HOST:PORT`` of a Ray cluster that is there already, and whose CPUs and GPUs the clients
        use; None: the run starts a Ray of its own on this machine.
    """

    clients: int = 4
    cpus_per_client: int = 1
    gpus_per_client: float = 0.0
    cpus: int | None = None
    gpus: int | None = None
    visible_gpus: str | None = None
    ray_address: str | None = None

    @property
    def virtual_clients(self) -> int:
        """How many clients share the simulation's nodes; 0: each has its own.

        A client that shares has its state in files of one machine, so that the machines of a Ray
        cluster have a node for each.
        """
        return self.clients if self.clients > MOST_NODES and self.ray_address is None else 0

    def ray_cpus(self) -> int:
        """Return the CPUs that a Ray of the run's own is told of.

        One actor starts for each client's share of them; more actors than clients would be
        started for nothing.
        """
        there = self.cpus or usable_cpus()
        return min(there, self.clients * self.cpus_per_client)

    def options(self) -> dict[str, float]:
        """Return, in the words of ``flwr run --federation-config``, what the user chose."""
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
        """Return the keys with which a run is started.

        A Ray cluster has its CPUs already, and Ray refuses to be told of other ones.
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
        """Return what is kept of it beside a run's results."""
        where = {} if self.ray_address is None else {"ray-address": self.ray_address}
        return {**self.options(), **where}
