"""RELIABILITY S12: a name out of a file, a URL or a request leads nowhere outside of where it may."""

from __future__ import annotations

import json
import random
import socket
import zipfile
from collections.abc import Iterator
from http.client import HTTPConnection
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path
from typing import Any

import pytest

from flowledger.adapters.bundle_reading import read_bundle
from flowledger.adapters.conductor.health import Health, Verdict
from flowledger.adapters.notifying import web
from flowledger.events.errors import InputError

#: Networks that nobody outside has, and some of which nobody has at all.
PRIVATE = [
    IPv4Network(net) for net in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.2.0/24",
        "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
    )
]  # fmt: skip
NAMES = [
    "../outside", "../../outside", "/tmp/outside", "payloads/../../outside", "payloads//outside", "./outside",
    "..\\outside", "C:\\outside", "\\\\host\\outside", "payloads/\u2025/outside", "a/" * 200 + "outside", "CON",
    "payloads/%2e%2e%2foutside", "~/outside", "manifest.json/../outside", "seals.jsonl/", "\udcff".encode(
        "utf-8", "surrogateescape").hex(), "$(touch outside)", "`touch outside`", "outside|touch", "-rf", ".",
]  # fmt: skip


def disguises(address: IPv4Address) -> Iterator[str]:
    """The same address as a resolver may give it, or as IPv6 wraps it."""
    number = int(address)
    yield str(address)
    yield str(IPv6Address((0xFFFF << 32) | number))  # ::ffff:a.b.c.d
    yield str(IPv6Address((0x2002 << 112) | (number << 80)))  # 6to4
    yield str(IPv6Address((0x64FF9B << 96) | number))  # NAT64
    yield str(IPv6Address((0x20010000 << 96) | (number ^ 0xFFFFFFFF)))  # Teredo, the client's address


def test_rel_s12_no_private_address_is_public_in_any_disguise() -> None:
    chance = random.Random(12)
    private = [net[chance.randrange(net.num_addresses)] for net in PRIVATE for _ in range(20)]
    assert len(private) >= 200
    assert [each for address in private for each in disguises(address) if web.is_public(each)] == []


@pytest.mark.parametrize("host", [
    "2130706433", "0x7f000001", "017700000001", "127.1", "127.0.1", "0177.0.0.1", "0x7f.0.0.1", "[::ffff:7f00:1]",
    "[::]", "localhost", "LOCALHOST", "localhost.", "127.0.0.1.", "[::1%lo]", "①②⑦.⓪.⓪.①",
])  # fmt: skip
def test_rel_s12_however_the_own_machine_is_written_it_is_not_called(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        with pytest.raises((OSError, ValueError)):
            web.post(f"http://{host}:{server.getsockname()[1]}/", b"{}", {}, private=[], timeout_s=2)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize("name", NAMES)
def test_rel_s12_a_bundle_puts_nothing_anywhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a file with a name that leads elsewhere, also among those that its manifest names
    place = tmp_path / "in" / "here"
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    with zipfile.ZipFile("bundle.zip", "w") as archive:
        archive.writestr("manifest.json", json.dumps({"files": {name: "0" * 64}}))
        archive.writestr(name, b"outside")
    before = sorted(tmp_path.rglob("*"))
    # When
    try:
        bundle: Any = read_bundle(Path("bundle.zip"))
    except InputError:
        bundle = None
    # Then
    assert sorted(tmp_path.rglob("*")) == before
    assert bundle is None or name in bundle.changed


PATHS = [
    "/../../etc/passwd", "/livez/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/livez%00.html",
    "/.git/config", "/readyz/..;/", "/\\..\\..\\etc\\passwd", "/livez?file=/etc/passwd", "http://169.254.169.254/", "*",
]  # fmt: skip


def test_rel_s12_the_health_port_serves_two_addresses_and_no_files() -> None:
    health = Health("127.0.0.1:0", alive=lambda: Verdict(good=True, why="alive"), ready=lambda: Verdict(True, "ready"))
    try:
        for path in PATHS:
            connection = HTTPConnection("127.0.0.1", health.port, timeout=10)
            connection.putrequest("GET", path, skip_host=True)
            connection.endheaders()
            answer = connection.getresponse()
            assert (path, answer.status, answer.read()) == (path, 404, b"not found\n")
            connection.close()
    finally:
        health.close()
