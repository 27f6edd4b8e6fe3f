"""A TCP proxy that misbehaves on request: cuts a conversation at a chosen word, goes silent, resets, is slow."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Literal

#: Where a conversation is cut: before the request goes on, in the middle of it, or before its reply comes back.
Where = Literal["request", "middle", "reply"]
#: What happens to all that is said: it passes; nothing does and nobody notices; it comes a moment later.
Mode = Literal["pass", "black hole", "slow"]


class CuttingProxy:
    """Between a client and ``127.0.0.1:port``; itself on ``self.port``. ``cuts`` counts what it has cut."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.cuts = 0
        self.mode: Mode = "pass"
        self.delay_s = 0.05
        self._server_port = port
        self._armed: tuple[bytes, Where] | None = None
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = Event()
        self._thread = Thread(target=self._run, name="cutting-proxy", daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def cut(self, word: bytes, where: Where) -> None:
        """Cut the next request that contains ``word``, once."""
        self._armed = (word, where)

    def drop_all(self, *, sides: Literal["both", "server"] = "both") -> None:
        """Reset every connection (RST); with ``server`` the client is not told: its connection is half open."""
        asyncio.run_coroutine_threadsafe(self._drop_all(sides), self._loop).result(10)

    def close(self) -> None:
        """Reset every connection and take no more."""
        if self._loop.is_closed():
            return
        self.drop_all()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.05))  # connections that were aborted are lost in its next turns
        self._loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair: tuple[asyncio.StreamWriter, ...] = (writer,)
        try:
            there, to_there = await asyncio.open_connection("127.0.0.1", self._server_port)
            both = pair = (writer, to_there)
            self._pairs.add(both)
            silenced = Event()  # the reply to come is not passed on
            await asyncio.gather(self._requests(reader, both, silenced), self._replies(there, both, silenced))
        except (OSError, asyncio.CancelledError):  # the server is away, or this is the end
            for end in pair:
                end.transport.abort()

    async def _requests(
        self, reader: asyncio.StreamReader, pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter], silenced: Event
    ) -> None:
        while chunk := await self._read(reader):
            word, where = self._armed or (b"", "pass")
            if self._armed and word in chunk:
                self._armed = None
                self.cuts += 1
                if where == "request":
                    break
                if where == "middle":
                    await self._write(pair[1], chunk[: len(chunk) // 2])
                    break
                silenced.set()
            await self._write(pair[1], chunk)
        self._abort(pair)

    async def _replies(
        self, reader: asyncio.StreamReader, pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter], silenced: Event
    ) -> None:
        while chunk := await self._read(reader):
            if silenced.is_set():
                break
            await self._write(pair[0], chunk)
        self._abort(pair)

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        with suppress(OSError):
            return await reader.read(1 << 20)
        return b""

    async def _write(self, writer: asyncio.StreamWriter, chunk: bytes) -> None:
        if self.mode == "slow":
            await asyncio.sleep(self.delay_s)
        if self.mode != "black hole":
            with suppress(OSError):
                writer.write(chunk)
                await writer.drain()

    async def _drop_all(self, sides: str) -> None:
        for pair in list(self._pairs):
            self._abort(pair, sides)

    def _abort(self, pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter], sides: str = "both") -> None:
        if self.mode == "black hole" and sides == "both" and pair in self._pairs:
            sides = "server"  # nobody is told anything
        for writer in pair if sides == "both" else pair[1:]:
            linger = struct.pack("ii", 1, 0)
            with suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        if sides == "both":
            self._pairs.discard(pair)


@contextmanager
def cutting(port: int) -> Iterator[CuttingProxy]:
    """A proxy to a port of this machine."""
    proxy = CuttingProxy(port)
    try:
        yield proxy
    finally:
        proxy.mode = "pass"
        proxy.close()
