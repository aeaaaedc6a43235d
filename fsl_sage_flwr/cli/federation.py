"""Arguments of ``run`` and ``sweep`` for clients, CPUs and GPUs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from ..simulations.federation import Federation

CLIENTS = 4


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0  # gives the same error as a number out of range
    # Flower accepts a negative share, and fails after everything has started.
    if not (0 <= value <= 1 or (value > 1 and value.is_integer())):
        raise typer.BadParameter(
            f"{text!r} is not valid; give a number from 0 to 1, or a whole number of GPUs"
        )
    return value


Engine = Annotated[
    Literal["auto", "inline", "ray"],
    typer.Option(
        help="inline runs the clients one after another in this process, ray side by side in "
        "Flower's simulation; auto chooses inline for a small run without a GPU. The options below "
        "are for ray"
    ),
]
Clients = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help=f"number of clients (default: {CLIENTS}, or the resuming run's)"
    ),
]
CpusPerClient = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="CPU threads per client (default: 1)")
]
GpusPerClient = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        parser=_share,
        help="share of a GPU per client: 0.25 runs four at a time on each (default: 0)",
    ),
]
Cpus = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="total CPUs to use (default: all)")
]
Gpus = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="total GPUs to use (default: all)")
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        envvar="RAY_ADDRESS",  # as Ray's own programs; `ray job submit` sets it
        show_envvar=False,
        help="run the clients on the Ray cluster at this address, to which this machine belongs; "
        "local starts Ray on this machine (default: $RAY_ADDRESS, or local)",
    ),
]


@dataclass(frozen=True)
class FederationOptions:
    """The options of ``run`` and ``sweep`` for clients, CPUs and GPUs; None where not given."""

    clients: int | None
    engine: str
    cpus_per_client: int | None
    gpus_per_client: float | None
    cpus: int | None
    gpus: int | None
    ray_address: str | None
    imports: Sequence[str] | None

    def words(self) -> list[str]:
        """Return the given options as words of ``fsl-sage run``."""
        given = {
            "--clients": self.clients or CLIENTS,
            "--engine": self.engine,
            "--cpus-per-client": self.cpus_per_client,
            "--gpus-per-client": self.gpus_per_client,
            "--cpus": self.cpus,
            "--gpus": self.gpus,
            "--ray-address": self.ray_address,
        }
        words = [f"{word}" for pair in given.items() if pair[1] is not None for word in pair]
        return words + [word for module in self.imports or () for word in ("--import", module)]

    def federation(self) -> Federation:
        """Return the federation.

        Raises
        ------
        ConfigError
            An option concerns this machine but the clients run on a Ray cluster, or the cluster's
            address is invalid.
        """
        from ..simulations.federation import INLINE, RAY, Federation
        from ..simulations.ray_cluster import cluster_address

        address = cluster_address(self.ray_address or "")
        if address is not None:
            self._refuse_options_of_this_machine(address)
        return Federation(
            self.clients or CLIENTS, self.cpus_per_client or 1, self.gpus_per_client or 0.0,
            self.cpus, self.gpus, ray_address=address,
            engine=INLINE if self.engine == INLINE else RAY,
        )  # fmt: skip

    def for_ray(self) -> list[str]:
        """Return the given options that only Flower's simulation on Ray has."""
        given = {
            "--cpus-per-client": self.cpus_per_client,
            "--gpus-per-client": self.gpus_per_client,
            "--cpus": self.cpus,
            "--gpus": self.gpus,
            "--ray-address": self.ray_address,
        }
        return [option for option, value in given.items() if value is not None]

    def _refuse_options_of_this_machine(self, address: str) -> None:
        from ..app.config import ConfigError
        from ..registries import IMPORTS

        for option, given, instead in (
            ("--cpus", self.cpus, "set it with `ray start --num-cpus` on each machine"),
            ("--gpus", self.gpus, "set it with `ray start --num-gpus` on each machine"),
            (
                "--import",
                next(iter(self.imports or ()), None),
                "it does not reach the cluster's processes; install it with an entry point, or set "
                f"{IMPORTS} where `ray start` is called and here",
            ),
        ):
            if given is not None:
                raise ConfigError(
                    f"{option} {given}: the clients run on the Ray cluster at {address}; {instead}"
                )

    def usable_gpus(self) -> list[str]:
        """Return the usable GPUs, as in ``CUDA_VISIBLE_DEVICES``."""
        import torch

        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if visible is None:
            visible = ",".join(map(str, range(torch.cuda.device_count())))
        found = [name for name in visible.split(",") if name and name != "-1"]
        return found[: self.gpus]
