"""Shape bandwidth and latency between SuperNodes and a SuperLink, in user space.

A link is a port on loopback that forwards all bytes to another port: a substitute for ``tc netem``,
for kernels without it. A link's connections share its bandwidth, separately in each direction, and
every byte arrives half a round trip after it has left.
"""

import asyncio
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass

CHUNK = 2**14
AHEAD = 0.02  # seconds of bytes that wait for the bandwidth: the sender is slowed after them


@dataclass(order=True)
class Shape:
    """Bandwidth and latency of a link; it may change while the link works.

    Attributes
    ----------
    mbit : float
        Bandwidth in each direction, Mbit/s (10⁶ bits); infinite for no limit.
    round_trip : float
        Seconds.
    """

    mbit: float = float("inf")
    round_trip: float = 0.0


class _Direction:
    """One direction of a link: the time at which its bandwidth is free again."""

    def __init__(self, shape: Shape) -> None:
        self._shape, self._free = shape, 0.0

    def departure(self, size: int) -> float:
        """Return when the last of these bytes has left."""
        now = asyncio.get_running_loop().time()
        self._free = max(now, self._free) + size * 8e-6 / self._shape.mbit
        return self._free

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on all bytes of a connection, each when it would arrive."""
        arrivals = asyncio.Queue[tuple[float, bytes]]()
        delivery = asyncio.create_task(_deliver(arrivals, writer))
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                left = self.departure(len(data))
                arrivals.put_nowait((left + self._shape.round_trip / 2, data))
                await _sleep_until(left - AHEAD)
        arrivals.put_nowait((0.0, b""))
        await delivery


async def _deliver(
    arrivals: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter
) -> None:
    with suppress(OSError):
        while (arrival := await arrivals.get())[1]:
            await _sleep_until(arrival[0])
            writer.write(arrival[1])
            await writer.drain()
    writer.close()


async def _sleep_until(moment: float) -> None:
    seconds = moment - asyncio.get_running_loop().time()
    if seconds > 0:
        await asyncio.sleep(seconds)


class ShapedLink:
    """One node's link to the SuperLink.

    Parameters
    ----------
    shape : Shape
        Bandwidth and latency.
    port : int
        Port to which the bytes are passed on.

    Attributes
    ----------
    port : int
        Port to which the node connects.
    """

    def __init__(self, shape: Shape, port: int) -> None:
        self._to = port
        self._up, self._down = _Direction(shape), _Direction(shape)
        # Bound here, so that the port is known and no other process's.
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])

    async def serve(self) -> None:
        """Accept connections from now on."""
        await asyncio.start_server(self._connect, sock=self._socket)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:  # no SuperLink listens
            writer.close()
            return
        await asyncio.gather(self._up.carry(reader, onward[1]), self._down.carry(onward[0], writer))


def shaped_links(count: int, shape: Shape, port: int) -> list[ShapedLink]:
    """Return links of one shape that serve in a thread; each has its bandwidth to itself."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    links = [ShapedLink(shape, port) for _ in range(count)]
    for link in links:
        asyncio.run_coroutine_threadsafe(link.serve(), loop).result()
    return links
