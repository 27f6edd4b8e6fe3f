"""RELIABILITY R20: every byte of a log, changed to every other value, is found; so is every event out of its place."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from msgspec.structs import replace

from flowledger import App, Flow, linear
from flowledger.adapters.ids import new_ulid
from flowledger.events.chain import GENESIS, verified
from flowledger.events.envelope import StoredEvent
from flowledger.events.errors import Tampered

EVENTS = 60


@cache
def log(name: str = "one") -> tuple[str, list[StoredEvent]]:
    """The first 60 events of a run as an engine writes them."""
    app = App("shop", database_url=f"memory://{name}-{new_ulid()}")

    @app.task
    def step(n: int) -> str:
        if n == 7:
            raise ValueError("out of stock: é")
        return f"step {n}"

    @app.task(attempts=2)
    def last() -> None:
        raise ValueError("no")

    @app.flow
    def many() -> Flow[Any]:
        return linear(*(step.bind(n + 10) for n in range(30)), last)

    run = app.run(many(), executor="inline", check=False, key=name)
    events = app.runtime.store.read(run.id)[:EVENTS]
    app.close()
    assert len(events) == EVENTS
    return run.id, events


def other_values(content: bytes) -> Iterator[bytes]:
    """The bytes with one of them changed, to each of the 255 other values, one after the other."""
    for at, byte in enumerate(content):
        head, tail = content[:at], content[at + 1 :]
        for value in range(256):
            if value != byte:
                yield head + bytes((value,)) + tail


def changed_texts(text: str) -> Iterator[str]:
    """The same for a text; what is no UTF-8 any more is not a text, and no database would hand it out as one."""
    for content in other_values(text.encode()):
        try:
            yield content.decode()
        except UnicodeDecodeError:
            continue


def changed_numbers(number: int, size: int) -> Iterator[int]:
    for content in other_values(number.to_bytes(size, "big")):
        yield int.from_bytes(content, "big")


def changes(event: StoredEvent) -> Iterator[StoredEvent]:
    yield from (replace(event, payload=content) for content in other_values(event.payload))
    yield from (replace(event, hash=content) for content in other_values(event.hash))
    yield from (replace(event, type=text) for text in changed_texts(event.type))
    yield from (replace(event, path=text) for text in changed_texts(event.path))
    yield from (replace(event, actor=text) for text in changed_texts(event.actor))
    yield from (replace(event, time_us=n) for n in changed_numbers(event.time_us, 7))
    yield from (replace(event, schema_version=n) for n in changed_numbers(event.schema_version, 3))
    yield from (replace(event, version=n) for n in changed_numbers(event.version, 7))


def named(run_id: str, event: StoredEvent, previous: bytes, after: int) -> int | None:
    """The event that is named as the first bad one."""
    try:
        list(verified(run_id, (event,), previous=previous, after_version=after))
    except Tampered as error:
        return error.version
    return None


@pytest.mark.slow
@pytest.mark.parametrize("number", range(EVENTS))
def test_rel_r20_every_byte_of_every_event_changed_to_every_value_is_found(number: int) -> None:
    # Given an event and the hash before it
    run_id, events = log()
    previous = events[number - 1].hash if number else GENESIS
    found = 0
    # When / Then: what comes before is intact, so the search begins here; the one changed is the one named
    for changed in changes(events[number]):
        assert named(run_id, changed, previous, number) == number + 1, changed
        found += 1
    assert found > 255 * len(events[number].payload)


@pytest.mark.parametrize("at", range(EVENTS))
def test_rel_r20_an_event_dropped_doubled_or_swapped_is_found(at: int) -> None:
    run_id, events = log()
    ways = {
        "dropped": [*events[:at], *events[at + 1 :]],
        "doubled": [*events[:at], events[at], *events[at:]],
        "swapped": [*events[:at], *events[at : at + 2][::-1], *events[at + 2 :]],
    }
    for way, changed in ways.items():
        if at == EVENTS - 1 and way != "doubled":
            continue  # an end that is missing is no change of what is left: that is what seals are for
        with pytest.raises(Tampered) as caught:
            list(verified(run_id, changed))
        assert caught.value.version == at + (2 if way == "doubled" else 1), way


@pytest.mark.parametrize("at", range(1, EVENTS))
def test_rel_r20_an_event_of_another_run_is_found(at: int) -> None:
    # Given two runs of the same flow
    (run_id, events), (_, others) = log(), log("two")
    # When / Then: one event, or all that follows
    for changed in ([*events[:at], others[at], *events[at + 1 :]], [*events[:at], *others[at:]]):
        with pytest.raises(Tampered) as caught:
            list(verified(run_id, changed))
        assert caught.value.version == at + 1
