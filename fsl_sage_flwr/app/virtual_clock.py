"""Build the virtual clock of a run, its budget and its Grid, from the run configuration."""

from pathlib import Path

from flwr.serverapp import Grid

from ..algorithm_registry import ALGORITHMS
from ..clock.fleet import Fleet, fleet_of
from ..clock.links import ClockError
from ..clock.presence import Presence, read_presence
from ..rounds.grid.inline_grid import InlineGrid
from ..rounds.grid.simulation import is_simulation
from ..rounds.grid.virtual_time_grid import VirtualTimeGrid
from ..runs.budget import Budget
from ..runs.virtual_time import VirtualTime
from .config import ConfigError, RunConfig


def budget_of(config: RunConfig) -> Budget:
    """Return the limits after which a run is complete, but for ``max-communication-mib``."""
    return Budget(
        accuracy=config.clock.stop_accuracy,
        hours=config.clock.stop_hours,
        kilojoules=config.clock.stop_kilojoules,
    )


def clock_of(config: RunConfig) -> VirtualTime | None:
    """Return the virtual clock of a run; None if it is disabled.

    Raises
    ------
    ConfigError
        The clients' table is not valid, a power is unknown that the budget needs, or the algorithm
        declares no schedule.
    """
    if not config.clock.clock_device:
        return None
    schedule = ALGORITHMS[config.algorithm].schedule
    if schedule is None:
        raise ConfigError(
            f"clock.device = {config.clock.clock_device!r}: the algorithm {config.algorithm!r} "
            "declares no schedule of a round; give its Algorithm one"
        )
    fleet = fleet_of_run(config)
    devices = [fleet.device, *(device for device, _ in fleet.own.values())]
    if config.clock.stop_kilojoules and any(device.watts is None for device in devices):
        raise ConfigError(
            f"stop.kilojoules = {config.clock.stop_kilojoules}: the power of a client's device is "
            "unknown; give watts in clock.clients, or another clock.device"
        )
    return VirtualTime(fleet, schedule)


def grid_on_virtual_time(grid: Grid, config: RunConfig) -> Grid:
    """Return the Grid of a run, on the virtual clock if its replies arrive by it.

    Raises
    ------
    ConfigError
        The nodes are not in this process, or a table is not valid; or the run merges late replies
        in a simulation without the clock.
    """
    if not config.clock.clock_replies:
        if is_simulation(grid):
            refuse_late_replies_without_a_clock(config)
        return grid
    if not isinstance(grid, InlineGrid):
        raise ConfigError(
            "clock.replies = true: only nodes in this process have a virtual clock; give "
            "--engine inline, or leave it out on Ray and on a SuperLink"
        )
    return VirtualTimeGrid(grid, fleet_of_run(config), _presence_of(config))


def refuse_late_replies_without_a_clock(config: RunConfig) -> None:
    """Refuse a simulation that merges late replies without a virtual clock.

    Raises
    ------
    ConfigError
        It would: the machine decides there which client is late.
    """
    if config.asynchrony.buffer and not config.clock.clock_replies:
        raise ConfigError(
            f"async.buffer = {config.asynchrony.buffer}: a simulation needs a virtual clock to "
            "tell slow clients; set clock.device, e.g. 'pi5', and clock.replies = true"
        )


def fleet_of_run(config: RunConfig) -> Fleet:
    """Return the devices and links of a run.

    Raises
    ------
    ConfigError
        The clients' table is not valid.
    """
    options = config.clock
    table = Path(options.clock_clients) if options.clock_clients else None
    try:
        return fleet_of(
            options.clock_device,
            options.clock_link,
            options.clock_server,
            device_spread=options.clock_device_spread,
            link_spread=options.clock_link_spread,
            seed=config.seed,
            table=table,
            message_seconds=options.clock_message_seconds,
            message_round_trips=options.clock_message_round_trips,
        )
    except ClockError as error:
        raise ConfigError(f"clock.clients = {options.clock_clients!r}: {error}") from error


def _presence_of(config: RunConfig) -> Presence:
    file = config.clock.clock_presence
    try:
        return read_presence(Path(file)) if file else Presence()
    except ClockError as error:
        raise ConfigError(f"clock.presence = {file!r}: {error}") from error
