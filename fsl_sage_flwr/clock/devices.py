"""Declare devices by name, and parse a device from text; sources are marked as in ``links``."""

import math
from dataclasses import dataclass

from .links import ClockError

MEASURED = "measured"


@dataclass(frozen=True)
class Device:
    """A client's or the server's computer.

    Attributes
    ----------
    flops : float or None
        Floating-point operations per second. None takes the seconds that the run measured, times
        ``factor``.
    watts : float or None
        Power while it computes; None if no source is known, and joules are then unknown.
    factor : float
        Factor on seconds of computation.
    source : str
        Source of each value, with its mark.
    """

    flops: float | None
    watts: float | None = None
    factor: float = 1.0
    source: str = ""


DEVICES = {
    "jetson": Device(
        1.28e12,
        15.0,
        source="NVIDIA Jetson Orin Nano 8 GB, data sheet: 1,024 CUDA cores at 625 MHz (read), two "
        "operations per cycle; 15 W, the upper end of 7 to 15 W (not checked). A peak in fp32",
    ),
    "pi5": Device(
        30.249e9,
        11.0,
        source="Raspberry Pi 5, High Performance Linpack in fp64 and power at the wall, measured "
        "in geerlingguy/top500-benchmark, issue 18 (read)",
    ),
    "phone": Device(
        30e9,
        None,
        source="Snapdragon 8 series, CPU: 15 to 30 GFLOP/s in training, measured by Das et al., "
        "2022, arXiv 2202.10100 (read); power unknown (no source found)",
    ),
    "server-gpu": Device(
        67e12,
        700.0,
        source="NVIDIA H200 SXM: 67 TFLOP/s in fp32, 700 W (read in hmc-tech's listing: 66.91, "
        "700; the data sheet is not checked). A peak",
    ),
    MEASURED: Device(
        None, None, source="seconds that the run measured on its machine; power unknown"
    ),
}


def device_of(text: str) -> Device:
    """Return the device of a name, of FLOP/s, or of a factor on measured seconds.

    ``1e9`` is a device of 10⁹ FLOP/s; ``measured*20`` takes 20 times the measured seconds, and
    ``jetson*2`` twice those of a Jetson.

    Raises
    ------
    ClockError
        The text is neither.
    """
    name, star, times = text.partition("*")
    try:
        factor = float(times) if star else 1.0
        device = DEVICES[name] if name in DEVICES else Device(float(name))
        valid = 0 < factor < math.inf and (device.flops is None or 0 < device.flops < math.inf)
    except ValueError:
        valid = False
    if not valid:
        raise ClockError(
            f"device {text!r} is not valid; give {', '.join(DEVICES)}, FLOP/s such as 1e9, or one "
            "of them times a factor, such as measured*20"
        )
    return Device(device.flops, device.watts, factor, device.source)
