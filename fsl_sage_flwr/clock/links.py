"""Declare links by name, and parse a link from text.

Marks of a source: ``read`` (its text was opened), ``abstract read``, ``quoted`` (by another text),
``not checked``.
"""

import math
import re
from dataclasses import dataclass

from ..user_error import UserError


class ClockError(ValueError, UserError):
    """Devices, links or a client's table are not valid; one line gives the reason."""

    exit_status = 2


@dataclass(frozen=True)
class Link:
    """The link between one client and the server.

    Attributes
    ----------
    down, up : float
        Bandwidth to the client and from it, Mbit/s (10⁶ bits).
    latency : float
        Seconds of a round trip of an empty message; half of it counts for each direction.
    jitter : float
        Standard deviation of the latency's logarithm: each message's latency is drawn from the
        log-normal distribution around ``latency``, its median. 0 for a constant latency.
    down_joules, up_joules : float
        Joules of the client's radio per byte.
    watts : float
        Further power of the client's radio while it sends or receives.
    source : str
        Source of each value, with its mark.
    """

    down: float
    up: float
    latency: float = 0.0
    jitter: float = 0.0
    down_joules: float = 0.0
    up_joules: float = 0.0
    watts: float = 0.0
    source: str = ""


# Huang et al., A Close Examination of Performance and Power Characteristics of 4G LTE Networks,
# MobiSys 2012: power of a radio in mW per Mbit/s of throughput, and a base in mW (quoted: public
# programs that cite the paper's table have these figures).
_LTE_UP, _LTE_DOWN, _LTE_BASE = 438.39, 51.97, 1288.04
_WIFI_UP, _WIFI_DOWN, _WIFI_BASE = 283.17, 137.01, 132.86
_JOULES = 8e-9  # joules per byte for one mW per Mbit/s

# Sui et al., Characterizing and Improving WiFi Latency, MobiSys 2016 (abstract read): median 3 ms,
# 90th percentile 20 ms; 1.2816 is that percentile of the standard normal distribution.
_WIFI_JITTER = math.log(20 / 3) / 1.2816

# Semtech SX1276 data sheet: 3.3 V, 29 mA sending at 13 dBm, 9.9 mA receiving (quoted: drivers have
# its table of currents, a catalogue its current of receiving).
_LORA_UP, _LORA_DOWN = 3.3 * 29e-3, 3.3 * 9.9e-3
_LORA_MBIT = 5.47e-3

LINKS = {
    "fibre": Link(
        down=1000.0,
        up=1000.0,
        latency=9e-3,
        source="1000BASE-LX (IEEE 802.3z), full duplex (not checked); latency: Ookla's measurement "
        "of Verizon's lines, 9 ms (quoted); the power of the line is not counted",
    ),
    "wifi": Link(
        down=72.2,
        up=72.2,
        latency=3e-3,
        jitter=_WIFI_JITTER,
        down_joules=_JOULES * _WIFI_DOWN,
        up_joules=_JOULES * _WIFI_UP,
        watts=_WIFI_BASE / 1000,
        source="physical rate of IEEE 802.11n, one stream of 20 MHz, 400 ns (MCS 7; read in H3C's "
        "table of rates); latency of the wireless hop: Sui et al., MobiSys 2016 (abstract "
        "read); power: Huang et al., MobiSys 2012 (quoted)",
    ),
    "lte": Link(
        down=13.0,
        up=6.0,
        latency=31e-3,
        down_joules=_JOULES * _LTE_DOWN,
        up_joules=_JOULES * _LTE_UP,
        watts=_LTE_BASE / 1000,
        source="medians: Huang et al., MobiSys 2012 (abstract read); power: the same (quoted); "
        "latency: Ookla's measurement of T-Mobile, 31 ms (quoted)",
    ),
    "lora": Link(
        down=_LORA_MBIT,
        up=_LORA_MBIT,
        latency=1.0,
        down_joules=_LORA_DOWN * 8 / (_LORA_MBIT * 1e6),
        up_joules=_LORA_UP * 8 / (_LORA_MBIT * 1e6),
        source="LoRaWAN, EU868: DR5 (SF7, 125 kHz), 5.47 kbit/s (read in RAKwireless's table), "
        "RECEIVE_DELAY1 of 1 s (read); power: Semtech SX1276 (quoted); the duty cycle is not "
        "counted",
    ),
}

_TEXT = re.compile(
    r"(?P<down>[\d.eE+-]+)(/(?P<up>[\d.eE+-]+))?(@(?P<latency>[\d.eE+-]+))?", re.ASCII
)


def link_of(text: str) -> Link:
    """Return the link of a name, or of ``DOWN[/UP][@LATENCY]`` in Mbit/s and ms.

    Raises
    ------
    ClockError
        The text is neither.
    """
    if text in LINKS:
        return LINKS[text]
    found = _TEXT.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        down = float(found["down"])
        up = float(found["up"] or down)
        latency = float(found["latency"] or 0.0) / 1000
        valid = all(0 < value < math.inf for value in (down, up)) and 0 <= latency < math.inf
    except ValueError:
        valid = False
    if not valid:
        raise ClockError(
            f"link {text!r} is not valid; give {', '.join(LINKS)}, or Mbit/s down, up and the "
            "latency in ms, such as 10/2@50"
        )
    return Link(down, up, latency)
