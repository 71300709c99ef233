"""A TCP proxy on the loopback: delays, throttles, cuts, or swallows what passes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

_CHUNK = 64 * 1024
_HOST = "127.0.0.1"


@dataclass(frozen=True)
class Weather:
    """What befalls the bytes.

    Attributes:
        delay: seconds that each chunk waits, in each direction.
        rate: bytes a second of each connection and direction; None for no limit.
        swallow: whether they vanish, while connections stay open.
        refuse: whether new connections are closed at once.
    """

    delay: float = 0.0
    rate: float | None = None
    swallow: bool = False
    refuse: bool = False


CLEAR = Weather()


class Proxy:
    """Forwards connections to one port; runs in a thread of its own."""

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self.weather = CLEAR
        self._target = target
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, _HOST, port))

    @property
    def address(self) -> str:
        """`host:port` for clients."""
        return f"{_HOST}:{self.port}"

    def pass_through(self) -> None:
        """Let everything pass from now on."""
        self.weather = CLEAR

    def cut(self) -> int:
        """Cut all connections; how many there were."""
        cut = list(self._open)
        for writer in cut:
            self._loop.call_soon_threadsafe(writer.transport.abort)
        return len(cut) // 2

    def close(self) -> None:
        """End it, and all its connections."""
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*serving, return_exceptions=True)

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.weather.refuse:
            writer.transport.abort()
            return
        try:
            there = await asyncio.open_connection(_HOST, self._target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, there[1]}
        with suppress(OSError):
            await asyncio.gather(self._copy(reader, there[1]), self._copy(there[0], writer))
        for each in (writer, there[1]):
            self._open.discard(each)
            each.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            weather = self.weather
            pause = weather.delay + (len(data) / weather.rate if weather.rate else 0.0)
            if pause:
                await asyncio.sleep(pause)
            if not weather.swallow:
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
