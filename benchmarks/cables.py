"""Cut, hold and slow the connections of SuperNodes to a SuperLink.

A cable is a port on loopback that forwards all bytes, TLS included, to another port: a substitute
for ``tc netem``, for kernels without it and users without rights.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

CHUNK = 2**16


def reset(end: asyncio.StreamWriter) -> None:
    """End a connection as a network does, with a reset.

    To a SuperNode (Flower 1.42) a connection that ends in order while TLS begins is a wrong
    certificate: it stops for ever, and its process stays.
    """
    end.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    end.transport.abort()


class Cable:
    """Forward one node's connections to the SuperLink.

    Parameters
    ----------
    cables : Cables
        Whose thread it works in.
    port : int
        What it passes on to.

    Attributes
    ----------
    port : int
        Where the node connects to.
    """

    def __init__(self, cables: "Cables", port: int) -> None:
        self._cables, self._to = cables, port
        self._delay, self._cuts, self._holds = 0.0, 0, 0  # troubles may overlap
        self._flows = asyncio.Event()
        self._flows.set()
        self._ends = set[asyncio.StreamWriter]()
        # Bound here, so that no other process gets the port, and known when this returns.
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])

    async def serve(self) -> None:
        """Take connections from now on."""
        await asyncio.start_server(self._connect, sock=self._socket)

    def cut(self, seconds: float) -> None:
        """End all connections, and refuse new ones for these seconds."""
        self._cables.between(partial(self._break, 1), partial(self._break, -1), seconds)

    def hold(self, seconds: float) -> None:
        """Hold all bytes for these seconds without a sign; then forward them."""
        self._cables.between(partial(self._stop, 1), partial(self._stop, -1), seconds)

    def slow(self, delay: float, seconds: float) -> None:
        """Delay each piece of up to 64 KiB by ``delay`` seconds, for these seconds."""
        self._cables.between(partial(self._take, delay), partial(self._take, -delay), seconds)

    def _break(self, more: int) -> None:
        self._cuts += more
        for end in self._ends if self._cuts else ():
            reset(end)

    def _stop(self, more: int) -> None:
        self._holds += more
        if self._holds:
            self._flows.clear()
        else:
            self._flows.set()

    def _take(self, more: float) -> None:
        self._delay = max(0.0, self._delay + more)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cuts:
            reset(writer)
            return
        try:
            onward = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:  # the SuperLink is not there
            reset(writer)
            return
        ends = {writer, onward[1]}
        self._ends |= ends
        await asyncio.gather(self._pass_on(reader, onward[1]), self._pass_on(onward[0], writer))
        self._ends -= ends

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                await asyncio.sleep(self._delay)
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


class Cables:
    """Run cables in a thread.

    Parameters
    ----------
    count : int
        How many.
    port : int
        Where all of them lead.
    """

    def __init__(self, count: int, port: int) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.all = [Cable(self, port) for _ in range(count)]
        for cable in self.all:
            asyncio.run_coroutine_threadsafe(cable.serve(), self._loop).result()

    def between(self, begin: Callable[[], None], end: Callable[[], None], seconds: float) -> None:
        """Do one thing now and another after these seconds, in the cables' thread."""
        self._loop.call_soon_threadsafe(begin)
        self._loop.call_soon_threadsafe(self._loop.call_later, seconds, end)
