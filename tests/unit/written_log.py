"""Logs written by hand, through the real codec, chain and store: what the readers are tested on."""

from __future__ import annotations

from collections.abc import Iterable

from flowledger.events import chain, codec
from flowledger.events.envelope import Envelope, StoredEvent
from flowledger.events.facts import Event
from flowledger.events.failure import Failure
from flowledger.events.store import Append, Appended, Direction, NewStream, PlanRow, RunStatus, Store

Story = Iterable[tuple[str, Event]]

START_US = 1_700_000_000_000_000
STEP_US = 100_000  # between two events
RUN_ID = "01J0000000000000000000000A"


def rows(story: Story, run_id: str = RUN_ID) -> list[StoredEvent]:
    """The rows of a run in which these things happened, a tenth of a second apart."""
    previous, found = chain.GENESIS, list[StoredEvent]()
    for version, (path, event) in enumerate(story, start=1):
        kind, schema, content = type(event).__name__, event.schema_version, codec.encode(event)
        at_us = START_US + version * STEP_US
        previous = chain.link(previous, run_id.encode(), version, kind, schema, path, at_us, "me@here", content)
        found.append(StoredEvent(version, kind, schema, path, at_us, "me@here", content, previous))
    return found


def envelopes(story: Story, run_id: str = RUN_ID) -> list[Envelope]:
    """The same, as readers get them."""
    return list(codec.opened(run_id, rows(story, run_id)))


def write(
    store: Store,
    story: Story,
    *,
    run_id: str = RUN_ID,
    key: str | None = None,
    factory: str = "build",
    status: RunStatus = "SUCCEEDED",
    direction: Direction = "FORWARD",
    plan: PlanRow | None = None,
) -> None:
    """Append a whole run to a store."""
    stream = NewStream(app="shop", factory=factory, key=key, inputs_digest="")
    request = Append(
        run_id=run_id, expected=0, epoch=0, events=rows(story, run_id), status=status, direction=direction,
        create=stream, plans=[] if plan is None else [plan],
    )  # fmt: skip
    results = store.append([request])
    assert isinstance(results[0], Appended), results


def failure(path: str, message: str = "no quota", attempt: int = 1) -> Failure:
    """A failure as an engine would record it."""
    trace = 'Traceback (most recent call last):\n  File "flows.py", line 7, in body\n    raise X\nshop.X: no quota\n'
    return Failure(path=path, type="shop.QuotaError", message=message, traceback=trace, attempt=attempt)
