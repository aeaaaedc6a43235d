"""Settings of the virtual clock, and of the budgets that end a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..clock.devices import DEVICES, MEASURED, device_of
from ..clock.links import LINKS, ClockError, link_of
from .options import Options
from .setting import setting

_DEVICES = ", ".join(f"`{name}`" for name in DEVICES if name != MEASURED)
_LINKS = ", ".join(f"`{name}`" for name in LINKS)


def _device(value: Any) -> str | None:
    return _server(value) if value else None


def _server(value: Any) -> str | None:
    try:
        measured = device_of(str(value)).flops is None
    except ClockError as error:
        return str(error).partition("; ")[2]
    return "measured seconds differ from run to run; give FLOP/s" if measured else None


def _link(value: Any) -> str | None:
    try:
        link_of(str(value))
    except ClockError as error:
        return str(error).partition("; ")[2]
    return None


@dataclass(frozen=True)
class ClockOptions(Options):
    """Devices and links of the virtual clock, and budgets of accuracy, hours and joules."""

    clock_device: str = setting(
        "",
        f"device of each client on the virtual clock: {_DEVICES}, FLOP/s such as `1e9`, or one of "
        "them times a factor, `pi5*2`; empty disables the clock",
        key="clock.device",
        check=_device,
        scope="course",
    )
    clock_link: str = setting(
        "fibre",
        f"link of each client: {_LINKS}, or Mbit/s down, up and latency in ms, `10/2@50`",
        key="clock.link",
        check=_link,
        scope="course",
    )
    clock_server: str = setting(
        "server-gpu", "device of the server", key="clock.server", check=_server, scope="course"
    )
    clock_device_spread: float = setting(
        1.0,
        "spread of the clients' speeds: log-normal, two thirds of them within this factor",
        key="clock.device-spread",
        ge=1,
        scope="course",
    )
    clock_link_spread: float = setting(
        1.0, "spread of the clients' bandwidths", key="clock.link-spread", ge=1, scope="course"
    )
    clock_message_seconds: float = setting(
        0.0,
        "seconds of every message and its reply beside bytes and latency: a process starts",
        key="clock.message-seconds",
        ge=0,
        unit="seconds",
        scope="course",
    )
    clock_message_round_trips: float = setting(
        1.0,
        "round trips of every message and its reply",
        key="clock.message-round-trips",
        ge=1,
        scope="course",
    )
    clock_clients: str = setting(
        "",
        "CSV file with a row per client: `client`, and any of `device`, `link`, `flops`, `watts`, "
        "`factor`, `mbit_down`, `mbit_up`, `latency_ms`, `jitter`",
        key="clock.clients",
        scope="course",
    )
    clock_replies: bool = setting(
        False,
        "replies arrive by the virtual clock, which then decides on `fraction-reply` and "
        "`round-timeout`; for the engine `inline`",
        key="clock.replies",
    )
    clock_presence: str = setting(
        "",
        "CSV file with the hours in which clients are connected: `client`, `from`, `until`; others "
        "always are. It needs `clock.replies`",
        key="clock.presence",
    )
    stop_accuracy: float = setting(
        0.0,
        "test accuracy at which the run ends, completed; 0 is no limit",
        key="stop.accuracy",
        ge=0,
        le=1,
        scope="course",
    )
    stop_hours: float = setting(
        0.0,
        "hours on the virtual clock after which the run ends, completed; 0 is no limit",
        key="stop.hours",
        ge=0,
        unit="hours",
        scope="course",
    )
    stop_kilojoules: float = setting(
        0.0,
        "energy of all clients after which the run ends, completed; 0 is no limit",
        key="stop.kilojoules",
        ge=0,
        unit="kJ",
        scope="course",
    )

    def problem(self) -> str | None:
        """Refuse what needs the clock, or its replies, without it."""
        needing = {
            "stop.hours": self.stop_hours,
            "stop.kilojoules": self.stop_kilojoules,
            "clock.replies": self.clock_replies,
        }
        for key, value in needing.items():
            if value and not self.clock_device:
                return f"{key} = {value}: it needs the virtual clock; set clock.device, e.g. 'pi5'"
        if self.clock_presence and not self.clock_replies:
            return f"clock.presence = {self.clock_presence!r}: set clock.replies = true"
        return None

    def unused(self) -> Mapping[str, str]:
        """Return the keys of the clock where it is disabled."""
        names = (
            "link", "server", "device-spread", "link-spread", "message-seconds",
            "message-round-trips", "clients", "replies", "presence",
        )  # fmt: skip
        if self.clock_device:
            return {}
        return dict.fromkeys((f"clock.{name}" for name in names), "clock.device")
