"""Percent, sizes, times and energies in one format, for terminals, logs, tables and pictures."""

MIB = 2**20


def percent(fraction: float, digits: int = 2) -> str:
    """Return a fraction, 0 to 1, in percent: ``97.50 %``."""
    return f"{100 * fraction:.{digits}f} %"


def mib(count: float) -> str:
    """Return bytes in MiB, without the unit: ``1,234.5``; below 1 MiB three digits: ``0.0123``."""
    size = count / MIB
    return f"{size:,.1f}" if size >= 1 or size == 0 else f"{size:.3g}"


def byte_unit(largest: float) -> tuple[float, str]:
    """Return a suitable unit for sizes up to ``largest`` bytes, and its name."""
    for power, name in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if largest >= 1024**power:
            return float(1024**power), name
    return 1.0, "bytes"


def time_unit(largest: float) -> tuple[float, str]:
    """Return a suitable unit for times up to ``largest`` seconds, and its name."""
    for size, name in ((3600.0, "hours"), (60.0, "minutes")):
        if largest >= size:
            return size, name
    return 1.0, "seconds"


def energy_unit(largest: float) -> tuple[float, str]:
    """Return a suitable unit for energies up to ``largest`` joules, and its name."""
    return (1000.0, "kJ") if largest >= 1000 else (1.0, "J")
