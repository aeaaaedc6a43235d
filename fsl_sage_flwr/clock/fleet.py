"""Give each client a device and a link: by name, by a distribution, or by a table."""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..seeding import derive_seed
from .devices import MEASURED, Device, device_of
from .links import ClockError, Link, link_of

# Columns of a table that replace a value of the client's device or link.
_OF_DEVICE = ("flops", "watts", "factor")
_OF_LINK = {"mbit_down": "down", "mbit_up": "up", "latency_ms": "latency", "jitter": "jitter"}
COLUMNS = ("client", "device", "link", *_OF_DEVICE, *_OF_LINK)


@dataclass(frozen=True)
class Fleet:
    """Devices and links of all clients, and the server's device.

    Attributes
    ----------
    device : Device
        Of each client without another one.
    link : Link
        Of each client without another one.
    server : Device
        The server's.
    device_spread, link_spread : float
        Spread of the clients' speeds and bandwidths: each is multiplied by a factor from the
        log-normal distribution with median 1, and two thirds of the factors are between
        1/spread and spread. 1 gives all clients the same.
    seed : int
        Seed of the factors and of jitter.
    own : Mapping
        Devices and links of single clients, by partition id.
    message_seconds, message_round_trips : float
        Seconds of a message and its reply beside bytes and latency, and their round trips. They
        are added to the latency of each link, so that jitter varies them too.
    """

    device: Device
    link: Link
    server: Device
    device_spread: float = 1.0
    link_spread: float = 1.0
    seed: int = 0
    own: Mapping[int, tuple[Device, Link]] = field(default_factory=dict)
    message_seconds: float = 0.0
    message_round_trips: float = 1.0

    def of(self, client: int) -> tuple[Device, Link]:
        """Return the device and the link of a client."""
        device, link = self.own.get(client, (self.device, self.link))
        slower = self._factor(self.device_spread, "device", client)
        faster = self._factor(self.link_spread, "link", client)
        return (
            replace(device, factor=device.factor * slower),
            replace(
                link,
                down=link.down * faster,
                up=link.up * faster,
                latency=self.message_seconds + self.message_round_trips * link.latency,
            ),
        )

    def _factor(self, spread: float, what: str, client: int) -> float:
        if spread == 1.0:
            return 1.0
        draw = np.random.default_rng(derive_seed(self.seed, "fleet", what, client))
        return math.exp(math.log(spread) * draw.standard_normal())

    def with_links(
        self, *, bandwidth: float | None = None, latency: float | None = None
    ) -> "Fleet":
        """Return the fleet with the bandwidth (Mbit/s) or the latency (s) of all links replaced."""
        values: dict[str, Any] = {}
        if bandwidth is not None:
            values |= {"down": bandwidth, "up": bandwidth}
        if latency is not None:
            values["latency"] = latency
        own = {client: (d, replace(link, **values)) for client, (d, link) in self.own.items()}
        return replace(self, link=replace(self.link, **values), own=own)

    @property
    def needs_flops(self) -> bool:
        """Whether a device's speed is in FLOP/s, which runs must have recorded."""
        devices = (self.device, self.server, *(device for device, _ in self.own.values()))
        return any(device.flops is not None for device in devices)


def fleet_of(
    device: str = MEASURED,
    link: str = "fibre",
    server: str = MEASURED,
    *,
    device_spread: float = 1.0,
    link_spread: float = 1.0,
    seed: int = 0,
    table: Path | None = None,
    message_seconds: float = 0.0,
    message_round_trips: float = 1.0,
) -> Fleet:
    """Return a fleet from texts.

    Parameters
    ----------
    device, link, server : str
        As :func:`device_of` and :func:`link_of` read them.
    device_spread, link_spread, seed, message_seconds, message_round_trips
        As in :class:`Fleet`.
    table : Path, optional
        CSV with a row per client: ``client``, and any of ``device``, ``link``, ``flops``,
        ``watts``, ``factor``, ``mbit_down``, ``mbit_up``, ``latency_ms`` and ``jitter``. An empty
        cell, and a client without a row, has the value of the other arguments.

    Raises
    ------
    ClockError
        A text, a spread or the table is not valid.
    """
    for name, spread in (("device", device_spread), ("link", link_spread)):
        if not 1 <= spread < math.inf:
            raise ClockError(f"{name} spread {spread:g}: it must be at least 1, such as 2")
    default = device_of(device), link_of(link)
    own = {} if table is None else _read(table, *default)
    return Fleet(
        *default, device_of(server), device_spread, link_spread, seed, own,
        message_seconds, message_round_trips,
    )  # fmt: skip


def _read(table: Path, device: Device, link: Link) -> dict[int, tuple[Device, Link]]:
    try:
        with table.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ClockError(f"{table}: cannot be read as a table of clients ({error})") from error
    return dict(_of_row(table, row, device, link) for row in rows)


def _of_row(
    table: Path, row: Mapping[Any, Any], device: Device, link: Link
) -> tuple[int, tuple[Device, Link]]:
    unknown = [str(column) for column in row if column not in COLUMNS]
    given = {column: text for column, text in row.items() if text}
    if unknown or "client" not in given:
        raise ClockError(
            f"{table}: the column client and any of {', '.join(COLUMNS[1:])} are needed, not "
            f"{', '.join(str(column) for column in row)}"
        )
    try:
        client = int(given["client"])
        of_device: dict[str, Any] = {n: float(given[n]) for n in _OF_DEVICE if n in given}
        of_link: dict[str, Any] = {name: float(given[column]) for column, name in _OF_LINK.items()
                   if column in given}  # fmt: skip
    except ValueError as error:
        raise ClockError(f"{table}, client {given['client']}: {error}") from error
    if "latency" in of_link:
        of_link["latency"] /= 1000
    may_be_zero = {"latency", "jitter", "watts"}
    for name, value in {**of_device, **of_link}.items():
        if not 0 <= value < math.inf or (value == 0 and name not in may_be_zero):
            raise ClockError(f"{table}, client {client}: {name} = {value:g}; give a number above 0")
    device = device_of(given["device"]) if "device" in given else device
    link = link_of(given["link"]) if "link" in given else link
    return client, (replace(device, **of_device), replace(link, **of_link))
