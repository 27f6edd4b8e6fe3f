"""The hash chain (rule A8): every change of a stored stream is found, at the first event that was touched."""

from __future__ import annotations

from hashlib import sha256
from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from flowledger.events.chain import GENESIS, link, verified
from flowledger.events.envelope import StoredEvent
from flowledger.events.errors import Tampered

RUN = "01HF00000000000000000000AA"

ROWS = st.lists(
    st.tuples(st.text(max_size=8), st.integers(1, 9), st.text(max_size=8), st.integers(0, 2**60), st.text(max_size=8),
              st.binary(max_size=64)),
    min_size=1, max_size=8,
)  # fmt: skip


def chained(rows: list[tuple[str, int, str, int, str, bytes]]) -> list[StoredEvent]:
    events: list[StoredEvent] = []
    previous = GENESIS
    for version, (type_, schema, path, time_us, actor, payload) in enumerate(rows, 1):
        previous = link(previous, RUN.encode(), version, type_, schema, path, time_us, actor, payload)
        events.append(StoredEvent(version, type_, schema, path, time_us, actor, payload, previous))
    return events


SIX = chained([("TaskStarted", 1, f"flow/task-{n}", 1_000_000 + n, "me@host", b'{"n":%d}' % n) for n in range(6)])


def test_a8_the_format_of_the_chain_is_fixed() -> None:
    # Given: the fields as rule A8 has them, framed by hand
    frame = pack(">QIqIIIIQ", 1, 2, 3, len(RUN), len("T"), len("é".encode()), len("a"), len(b"{}"))
    # When / Then: a log of today can be verified by a program of tomorrow
    expected = sha256(bytes(32) + frame + RUN.encode() + b"T" + "é".encode() + b"a" + b"{}").digest()
    assert link(GENESIS, RUN.encode(), 1, "T", 2, "é", 3, "a", b"{}") == expected


@given(ROWS)
def test_a8_an_untouched_stream_passes(rows: list[tuple[str, int, str, int, str, bytes]]) -> None:
    events = chained(rows)
    assert list(verified(RUN, events)) == events


def test_a8_a_stream_is_verified_from_the_middle_on() -> None:
    assert list(verified(RUN, SIX[3:], previous=SIX[2].hash, after_version=3)) == SIX[3:]


@pytest.mark.parametrize(
    "change",
    [
        {"type": "TaskFailed"}, {"schema_version": 2}, {"path": "flow/task-9"}, {"time_us": 1}, {"actor": "you@host"},
        {"payload": b'{"n":9}'}, {"payload": b'{"n": 2}'}, {"hash": bytes(32)},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_a8_a_changed_field_is_found_at_its_event(change: dict[str, Any]) -> None:
    # Given
    events = [*SIX[:2], replace(SIX[2], **change), *SIX[3:]]
    passed: list[StoredEvent] = []
    # When
    with pytest.raises(Tampered) as caught:
        passed.extend(verified(RUN, events))
    # Then
    assert (caught.value.run_id, caught.value.version) == (RUN, 3)
    assert "events 1 to 2 are intact" in caught.value.message


def every_byte_flipped(stored: bytes, bit: int) -> list[bytes]:
    """The bytes with one bit changed, once for each byte."""
    return [stored[:at] + bytes([byte ^ 1 << bit]) + stored[at + 1 :] for at, byte in enumerate(stored)]


@pytest.mark.parametrize("bit", range(8))
def test_a8_every_flipped_bit_of_every_payload_and_hash_is_found(bit: int) -> None:
    for n, event in enumerate(SIX):
        changed = [replace(event, payload=flipped) for flipped in every_byte_flipped(event.payload, bit)]
        changed += [replace(event, hash=flipped) for flipped in every_byte_flipped(event.hash, bit)]
        # When / Then
        for other in changed:
            with pytest.raises(Tampered) as caught:
                list(verified(RUN, [*SIX[:n], other, *SIX[n + 1 :]]))
            assert caught.value.version == n + 1


@pytest.mark.parametrize(
    ("events", "version"),
    [
        ([*SIX[:2], *SIX[3:]], 3),
        ([*SIX[:2], SIX[3], SIX[2], *SIX[4:]], 3),
        ([*SIX[:3], *SIX[2:]], 4),
        (SIX[1:], 1),
    ],
    ids=["dropped", "swapped", "doubled", "head missing"],
)
def test_a8_a_stream_with_events_out_of_place_is_found(events: list[StoredEvent], version: int) -> None:
    with pytest.raises(Tampered) as caught:
        list(verified(RUN, events))
    assert caught.value.version == version


def test_a8_events_of_another_run_do_not_pass() -> None:
    with pytest.raises(Tampered):
        list(verified("01HF00000000000000000000BB", SIX))


def test_a8_fields_cannot_be_shifted_into_each_other() -> None:
    assert link(GENESIS, b"r", 1, "ab", 1, "c", 0, "", b"") != link(GENESIS, b"r", 1, "a", 1, "bc", 0, "", b"")
    assert link(GENESIS, b"r", 1, "a", 1, "", 0, "b", b"c") != link(GENESIS, b"r", 1, "a", 1, "", 0, "bc", b"")
