"""Frames over a socket: a length of four bytes, then so many bytes."""

from __future__ import annotations

import socket
import struct

_LENGTH = struct.Struct(">I")


def send(link: socket.socket, content: bytes) -> None:
    """Send one frame; raises `OSError` where the other end is gone."""
    link.sendall(_LENGTH.pack(len(content)) + content)


def receive(link: socket.socket) -> bytes | None:
    """The next frame; None where the other end is gone."""
    head = _exactly(link, _LENGTH.size)
    return None if head is None else _exactly(link, _LENGTH.unpack(head)[0])


def _exactly(link: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        try:
            part = link.recv(size - len(parts))
        except OSError:
            return None
        if not part:
            return None
        parts += part
    return bytes(parts)
