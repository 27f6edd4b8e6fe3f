"""Could the runs under way go on under today's code? Each is built, compared, folded; nothing is written (E8)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from flowledger.core.changes import compare, history_of, plan_in_force
from flowledger.core.compiler import check_pure, rebuild
from flowledger.core.registry import Registry
from flowledger.events.errors import DefinitionError, FlowledgerError, InputError, IntegrityError, PayloadError, Refused
from flowledger.events.store import RunStatus, Store, Stream

from .loading import load, submitted_inputs
from .runtime import Runtime

Verdict = Literal["same", "accepted", "refused"]

LIVE: tuple[RunStatus, ...] = ("PENDING", "RUNNING", "SUSPENDING", "SUSPENDED")
PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What today's code means for one run: the same plan, another one that is ``accepted``, or a refusal with the
    ``code`` of its error. ``lines`` say what differs, or what is wrong."""

    stream: Stream
    verdict: Verdict
    lines: tuple[str, ...] = ()
    code: str = ""


def live_runs(store: Store, app: str) -> Iterator[Stream]:
    """The runs of an app that have not ended, newest first."""
    before: str | None = None
    while page := store.streams(app=app, statuses=LIVE, before=before, limit=PAGE):
        yield from page
        before = page[-1].run_id


def check_live(runtime: Runtime, registry: Registry) -> Iterator[Finding]:
    """Look at each run of the app that has not ended.

    Raises:
        StoreError: the store cannot be read.
    """
    for stream in live_runs(runtime.store, registry.name):
        try:
            yield _look(runtime, registry, stream)
        except (DefinitionError, InputError, Refused, PayloadError, IntegrityError) as error:
            yield _refused(stream, error)


def _look(runtime: Runtime, registry: Registry, stream: Stream) -> Finding:
    inputs = submitted_inputs(runtime, stream.run_id)
    # Twice: a factory that reads a clock gives itself away before a run cannot be resumed.
    plan = check_pure(lambda: rebuild(registry, stream.factory, inputs), registry)
    loaded = load(runtime, registry, stream, goes_on=True)
    if not loaded.changed:
        return Finding(stream=stream, verdict="same")
    was = runtime.store.plan(plan_in_force(loaded.envelopes) or "")
    change = compare(was or plan.document, plan.document, history_of(loaded.envelopes))
    return Finding(stream=stream, verdict="accepted", lines=change.free)


def _refused(stream: Stream, error: FlowledgerError) -> Finding:
    lines = [line.strip() for line in error.message.split("\n")]
    return Finding(stream=stream, verdict="refused", lines=tuple(lines), code=error.code)
