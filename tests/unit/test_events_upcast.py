"""Old payloads are lifted when read; stored rows stay as they are. The worked example: TaskFailed 1 to 2."""

from __future__ import annotations

import pytest

from flowledger.events import codec
from flowledger.events.errors import IntegrityError
from flowledger.events.facts import EVENTS, TaskFailed
from flowledger.events.upcast import UPCASTERS

VERSION_1 = b'{"try":1,"attempt":2,"error":"ValueError: no quota: eu-1","again":true,"until":1700000000000000}'


def test_task_failed_1_is_read_as_2() -> None:
    # When
    event = codec.decode("TaskFailed", 1, VERSION_1)
    # Then: the one line of text has become a failure, all else is as it was
    assert isinstance(event, TaskFailed)
    assert (event.failure.type, event.failure.message, event.failure.attempt) == ("ValueError", "no quota: eu-1", 2)
    assert (event.try_, event.attempt, event.again, event.until) == (1, 2, True, 1_700_000_000_000_000)


def test_a_lifted_event_encodes_in_todays_shape() -> None:
    # Given
    event = codec.decode("TaskFailed", 1, VERSION_1)
    # When / Then
    assert codec.decode("TaskFailed", 2, codec.encode(event)) == event


def test_an_old_payload_under_todays_version_is_refused() -> None:
    with pytest.raises(IntegrityError, match="TaskFailed"):
        codec.decode("TaskFailed", 2, VERSION_1)


@pytest.mark.parametrize("payload", [b'{"try":"one"}', b"{", b'"text"', b"[]", b"null"])
def test_an_old_payload_that_is_broken_is_an_integrity_error(payload: bytes) -> None:
    with pytest.raises(IntegrityError, match="TaskFailed"):
        codec.decode("TaskFailed", 1, payload)


def test_every_version_but_todays_has_an_upcaster() -> None:
    needed = {(cls.__name__, version) for cls in EVENTS for version in range(1, cls.schema_version)}
    assert set(UPCASTERS) == needed
