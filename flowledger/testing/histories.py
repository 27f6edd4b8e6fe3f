"""Golden histories: the log of a run, kept in a file, that later code must still be able to go on with.

Keep one of each kind of run your flows have been through, and check them in every test run: a change that would refuse
the runs that are under way in production is then found before it is deployed.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import msgspec

from flowledger.adapters import loading
from flowledger.adapters.app import App
from flowledger.core import replay
from flowledger.core.changes import check_plan, plan_in_force
from flowledger.core.compiler import check_pure, rebuild
from flowledger.core.plan import Plan
from flowledger.events import facts
from flowledger.events.chain import verified
from flowledger.events.codec import opened
from flowledger.events.envelope import Envelope, StoredEvent
from flowledger.events.errors import InputError, IntegrityError, NotSupported

FORMAT = 1


class _Row(msgspec.Struct):
    """A stored event as text: payloads are JSON, hashes hex."""

    version: int
    type: str
    schema_version: int
    path: str
    time_us: int
    actor: str
    payload: str
    hash: str


class _History(msgspec.Struct):
    """A run as it was stored: its plan, its payload rows by digest, its events."""

    format: int
    run_id: str
    plan: str
    moved: dict[str, str]
    events: list[_Row]


def save_history(app: App, run_id: str, path: str | Path) -> None:
    """Write the log of a run to a file, as text that can be kept under version control.

    Everything that is in the log is in it, too. A run with secrets or encrypted values cannot be kept: who checks it
    would need its key.

    Raises:
        RunNotFound: the app has no such run.
        NotSupported: the run has secrets or encrypted values.
        Tampered: the log is not what was written.
    """
    store = app.runtime.store
    app.stream_of(run_id)
    envelopes = loading.read(store, run_id)
    if any(getattr(e.event, "secrets", None) or getattr(e.event, "codec", None) for e in envelopes):
        raise NotSupported(f"run {run_id} has secrets or encrypted values", hint="keep a run with made-up inputs")
    plan = store.plan(plan_in_force(envelopes) or "") or b"{}"
    rows = [_row(e) for e in store.read(run_id)]
    moved = loading.moved_values(store, run_id, envelopes)
    history = _History(FORMAT, run_id, plan.decode(), {d: content.decode() for d, content in moved.items()}, rows)
    Path(path).write_bytes(msgspec.json.format(msgspec.json.encode(history), indent=1) + b"\n")


def check_history(app: App, path: str | Path) -> str:
    """Check that today's code could go on with a recorded run; returns its status.

    The flow's factory is called (twice); no task runs, and nothing is written.

    Raises:
        PlanDiffers: what has history is not the same in the plan today's code builds; the message says what (E8).
        Nondeterminism: an event of the log was not due by today's rules; it names the first.
        FactoryNotPure, FlowNotRegistered, InputError: the plan cannot be built from the recorded inputs.
        Tampered, IntegrityError: the file is not what was written.
    """
    history = _read(Path(path))
    log = list(opened(history.run_id, verified(history.run_id, map(_stored, history.events))))
    moved = {digest: content.encode() for digest, content in history.moved.items()}
    for digest, content in moved.items():
        if sha256(content).hexdigest() != digest:
            raise IntegrityError(f"{path}: payload {digest[:12]} has been changed")
    plan = _plan_of(app, log, moved)
    check_plan(plan, log, recorded=lambda _: history.plan.encode(), moved=moved, goes_on=False)
    state = replay.check(plan, log, moved=moved)
    replay.check_complete(plan, state)
    return state.status


def _read(path: Path) -> _History:
    try:
        history = msgspec.json.decode(path.read_bytes(), type=_History)
    except msgspec.MsgspecError as error:
        raise InputError(f"{path} holds no history: {error}", field="path", given=str(path)) from error
    if history.format != FORMAT:
        raise InputError(
            f"{path} has format {history.format}", field="format", expected=str(FORMAT), given=str(history.format)
        )
    return history


def _plan_of(app: App, log: list[Envelope], moved: dict[str, bytes]) -> Plan:
    submitted = log[0].event if log else None
    if not isinstance(submitted, facts.RunSubmitted):
        raise IntegrityError("the history does not begin with RunSubmitted")
    inputs = moved[submitted.moved] if submitted.moved else bytes(submitted.inputs)
    return check_pure(lambda: rebuild(app, submitted.factory, inputs), app)


def _row(e: StoredEvent) -> _Row:
    payload, digest = e.payload.decode(), e.hash.hex()
    return _Row(e.version, e.type, e.schema_version, e.path, e.time_us, e.actor, payload, digest)


def _stored(row: _Row) -> StoredEvent:
    return StoredEvent(
        row.version, row.type, row.schema_version, row.path, row.time_us, row.actor, row.payload.encode(),
        bytes.fromhex(row.hash),
    )  # fmt: skip
