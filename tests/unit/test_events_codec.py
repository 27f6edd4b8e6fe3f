"""Events to bytes and back."""

from __future__ import annotations

import gc

import msgspec
import pytest

from flowledger.events import codec
from flowledger.events.envelope import StoredEvent
from flowledger.events.errors import IntegrityError, SchemaTooNew
from flowledger.events.facts import (
    EVENTS,
    Event,
    Raw,
    RunStarted,
    RunSubmitted,
    TaskFailed,
    TaskStarted,
    TaskSucceeded,
)
from flowledger.events.failure import Failure

FAILURE = Failure(path="a/b", type="ValueError", message="no\0quota ✓", cause=Failure(path="a/b", type="X", message=""))
SAMPLES: list[Event] = [
    RunSubmitted(app="a", factory="f", inputs=Raw(b'{"n": 1e16}'), key="k", tags={"team": "net"}),
    RunStarted(fingerprint="abc", on_failure="stop"),
    TaskStarted(key="k", try_=2, attempt=3),
    TaskSucceeded(result=Raw(b"[-0.0, 1e16, \"\\u0000\"]")),
    TaskFailed(failure=FAILURE, again=True, until=12),
]  # fmt: skip


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: type(event).__name__)
def test_what_is_encoded_is_decoded_as_the_same_event(event: Event) -> None:
    # When
    payload = codec.encode(event)
    found = codec.decode(type(event).__name__, event.schema_version, payload)
    # Then
    assert type(found) is type(event)
    assert codec.encode(found) == payload == codec.encode(event)


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: type(event).__name__)
def test_payloads_are_json_without_the_defaults(event: Event) -> None:
    # When
    fields = msgspec.json.decode(codec.encode(event))
    # Then
    assert fields
    assert not {"schema_version", "volatile", "type"} & set(fields)


def test_a_result_keeps_its_bytes() -> None:
    # Given: what a JSON library might write otherwise
    raw = b'{"a": 1e16,  "b": -0.0}'
    # When
    found = codec.decode("TaskSucceeded", 1, codec.encode(TaskSucceeded(result=Raw(raw))))
    # Then
    assert isinstance(found, TaskSucceeded)
    assert bytes(found.result) == raw


def test_the_try_is_written_under_its_own_name() -> None:
    assert msgspec.json.decode(codec.encode(TaskStarted(key="k", try_=2)))["try"] == 2


def test_every_event_class_has_one_name_and_a_version() -> None:
    names = [cls.__name__ for cls in EVENTS]
    assert len(set(names)) == len(names)
    assert all(cls.schema_version >= 1 for cls in EVENTS)


def test_every_volatile_field_exists() -> None:
    for cls in EVENTS:
        assert cls.volatile <= set(cls.__struct_fields__), cls.__name__


@pytest.mark.parametrize(("type_", "version"), [("TaskStarted", 99), ("TaskTeleported", 1), ("os.system", 1)])
def test_an_event_of_a_newer_release_is_refused_by_name(type_: str, version: int) -> None:
    with pytest.raises(SchemaTooNew, match=type_) as caught:
        codec.decode(type_, version, b"{}")
    assert caught.value.hint


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"{}", b'{"key": 1}', b"\xff"])
def test_a_payload_that_does_not_fit_its_type_is_an_integrity_error(payload: bytes) -> None:
    with pytest.raises(IntegrityError, match="TaskStarted"):
        codec.decode("TaskStarted", 1, payload)


def test_an_opened_row_says_what_it_is() -> None:
    # Given
    event = RunStarted(fingerprint="abc")
    row = StoredEvent(1, "RunStarted", 1, "", 1_000_000, "me@host", codec.encode(event), bytes(32))
    # When
    [envelope] = codec.opened("run", [row])
    # Then
    assert (envelope.run_id, envelope.type, envelope.event, envelope.actor) == ("run", "RunStarted", event, "me@host")
    assert envelope.at.isoformat() == "1970-01-01T00:00:01+00:00"


def test_what_is_read_of_a_long_run_is_nothing_to_the_garbage_collector() -> None:
    # Given
    row = StoredEvent(1, "TaskFailed", 2, "a/b", 1_000_000, "me@host", codec.encode(SAMPLES[-1]), bytes(32))
    # When
    (envelope,) = codec.opened("01J0000000000000000000000A", [row])
    # Then
    assert not gc.is_tracked(envelope)
    assert not gc.is_tracked(envelope.event)
