"""Messages put together from frames: long ones in part, odd ones without their headers."""

from __future__ import annotations

from struct import pack
from types import SimpleNamespace
from typing import Any

import pytest
from amqp import spec  # type: ignore[import-untyped]
from amqp.exceptions import UnexpectedFrame  # type: ignore[import-untyped]

from flowledger.adapters.broker.frames import Unread, frame_handler
from tests.strangers import odd_properties

KEEP = 100
DELIVER = pack(">HH", *spec.Basic.Deliver)
JSON = pack(">HB", 1 << 15, 16) + b"application/json"


def header(length: int, properties: bytes = JSON) -> bytes:
    return pack(">HxxQ", 60, length) + properties


@pytest.fixture
def said() -> list[tuple[int, Any]]:
    return []


@pytest.fixture
def frame(said: list[tuple[int, Any]]) -> Any:
    handler = frame_handler(KEEP)(
        SimpleNamespace(bytes_recv=0), lambda channel, _method, _arguments, message: said.append((channel, message))
    )
    return lambda kind, channel, buf: handler((kind, channel, buf))


def test_a_message_comes_with_its_last_frame(frame: Any, said: list[tuple[int, Any]]) -> None:
    assert not frame(1, 1, DELIVER)
    assert not frame(2, 1, header(6))
    assert not frame(3, 1, b"abc")
    assert not frame(8, 0, b"")
    assert frame(3, 1, b"def")

    ((channel, message),) = said
    assert (channel, message.body, message.length_bytes) == (1, b"abcdef", 6)
    assert message.properties == {"content_type": "application/json"}
    assert not message.is_odd


def test_one_without_a_body_comes_with_its_header(frame: Any, said: list[tuple[int, Any]]) -> None:
    assert not frame(1, 1, DELIVER)
    assert frame(2, 1, header(0))

    assert said[0][1].body == ""


def test_channels_do_not_mix(frame: Any, said: list[tuple[int, Any]]) -> None:
    for channel in (1, 2):
        frame(1, channel, DELIVER)
    for channel in (2, 1):
        frame(2, channel, header(2))
    for channel in (1, 2):
        frame(3, channel, b"%d" % channel)
    for channel in (1, 2):
        frame(3, channel, b"%d" % channel)

    assert [(channel, message.body) for channel, message in said] == [(1, b"11"), (2, b"22")]


@pytest.mark.parametrize("piece", [7, 100, 101, 5_000])
def test_of_a_long_body_only_the_beginning_is_kept(frame: Any, said: list[tuple[int, Any]], piece: int) -> None:
    body = bytes(range(250)) * 20
    frame(1, 1, DELIVER)
    frame(2, 1, header(len(body)))
    for start in range(0, len(body), piece):
        frame(3, 1, body[start : start + piece])

    message: Unread = said[0][1]
    assert (message.body, message.length_bytes) == (body[:KEEP], len(body))


@pytest.mark.parametrize("what", odd_properties())
def test_headers_that_cannot_be_read_are_left_out(frame: Any, said: list[tuple[int, Any]], what: str) -> None:
    frame(1, 1, DELIVER)
    frame(2, 1, header(2, odd_properties()[what]))
    frame(3, 1, b"{}")

    message: Unread = said[0][1]
    assert (message.is_odd, message.properties, message.body) == (True, {}, b"{}")


def test_a_method_without_a_message_comes_at_once(frame: Any, said: list[tuple[int, Any]]) -> None:
    assert frame(1, 1, pack(">HH", *spec.Basic.Ack))

    assert said == [(1, None)]


@pytest.mark.parametrize("kind", [2, 3])
def test_a_frame_that_is_not_due_ends_the_link(frame: Any, kind: int) -> None:
    with pytest.raises(UnexpectedFrame):
        frame(kind, 1, b"")
