"""A POST that cannot be turned against one's own network (RELIABILITY S12).

The host's addresses are looked up once; every one of them must be public; the connection goes to the very address that
was checked, so that a name cannot answer differently the second time. Redirects are answers like any other.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPSConnection
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

#: Of an answer so much is read.
_READ_BYTES: Final = 4096

#: What older Pythons take for public.
_NOT_PUBLIC_EITHER: Final = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "2002::/16")))


class NotPublic(ValueError):
    """The address is in a private network, this machine, or otherwise none of the public ones."""


def post(url: str, body: bytes, headers: Mapping[str, str], *, private: Sequence[str], timeout_s: float) -> int:
    """POST and give the answer's status.

    Raises:
        NotPublic: the host is not a public one, and not in ``private``.
        OSError: it cannot be reached in time.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = _checked(host, port, allowed=host in private)
    connection = _connection(parts.scheme, host, port, address, timeout_s)
    path = parts.path or "/"
    try:
        connection.request("POST", f"{path}?{parts.query}" if parts.query else path, body=body, headers=dict(headers))
        answer = connection.getresponse()
        answer.read(_READ_BYTES)
        return answer.status
    finally:
        connection.close()


def _checked(host: str, port: int, *, allowed: bool) -> str:
    """One address of the host, all of which are public (or allowed)."""
    found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    for address in sorted(found):
        if not (allowed or is_public(address)):
            raise NotPublic(
                f"{host} is {address}, which is not a public address: name the host in private= if it is meant"
            )
    return min(found)


def is_public(address: str) -> bool:
    """Whether an address is one of the public Internet's; also one that hides another in itself."""
    parsed = ip_address(address.partition("%")[0])
    inner = _inner(parsed)
    return all(
        each.is_global and not each.is_multicast and not any(each in network for network in _NOT_PUBLIC_EITHER)
        for each in (parsed, *inner)
    )


def _inner(address: IPv4Address | IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses that an IPv6 address stands for: mapped, 6to4, Teredo, NAT64."""
    if isinstance(address, IPv4Address):
        return []
    found = [each for each in (address.ipv4_mapped, address.sixtofour) if each is not None]
    if address.teredo is not None:
        found += list(address.teredo)
    if address.packed[:12] == bytes.fromhex("0064ff9b0000000000000000"):
        found.append(IPv4Address(address.packed[12:]))
    return found


def _connection(scheme: str, host: str, port: int, address: str, timeout_s: float) -> HTTPConnection:
    """A connection to that address, under the host's name."""
    connection: HTTPConnection
    if scheme == "https":
        context = ssl.create_default_context()
        connection = HTTPSConnection(host, port, timeout=timeout_s, context=context)
        plain = socket.create_connection((address, port), timeout=timeout_s)
        connection.sock = context.wrap_socket(plain, server_hostname=host)
        return connection
    connection = HTTPConnection(host, port, timeout=timeout_s)
    connection.sock = socket.create_connection((address, port), timeout=timeout_s)
    return connection
