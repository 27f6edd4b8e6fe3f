"""Writes today's logs of the corpus as golden histories: `python -m tests.golden.record RELEASE`.

Once per release, into a folder of its own; what is there is never written again, only what is new in the corpus. A
history that no longer replays means that logs of that release can no longer be read: lift the event
(`events/upcast.py`), never the history.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from msgspec.structs import replace

from flowledger import Flow, Run
from flowledger.adapters import loading
from flowledger.adapters.keys import new_key
from flowledger.adapters.sources import forked
from flowledger.events import facts
from flowledger.events.chain import GENESIS, link
from flowledger.events.codec import decode, encode
from flowledger.events.envelope import StoredEvent
from flowledger.testing import crash_at
from tests.crash import corpus, seats
from tests.crash.deeds import DEEDS, RELEASE, changing
from tests.crash.job import Row
from tests.crash.mail import run_until_over

HERE = Path(__file__).parent
ROOT = Path(__file__).parents[2]
ACTOR = "somebody@somewhere"
RECORDED = {*corpus.ALL_ENDS, *seats.ENDS, *DEEDS}


class History(msgspec.Struct, omit_defaults=True):
    """One run as it was stored: its payload rows by digest, its events; of a fork, those of its source, too; and its
    child runs (G7), each with a log of its own."""

    flow: str
    run_id: str
    moved: dict[str, str]
    rows: list[Row]
    source: list[Row] = []
    children: list[History] = []


def record(flow: str) -> History:
    """Run a flow of the corpus, or do a deed, and keep what the store keeps."""

    def go(part: Flow[Any]) -> Run[Any]:
        return run_until_over(part, flow, flow, "inline")

    deed = DEEDS.get(flow)
    if flow == "change":  # as the driver has it: the process dies half-way, and another release goes on
        with crash_at(corpus.app, "TaskSucceeded", "changing/step-3"):
            go(changing())
        RELEASE["now"] = 2
    run = go(seats.factory(flow)()) if deed is None else deed[0](go)
    return _kept(flow, run.id)


def _kept(flow: str, run_id: str) -> History:
    """What the store has of a run and of its children."""
    store = corpus.app.runtime.store
    log = loading.read(store, run_id)
    event = forked(log)
    source = [] if event is None else list(anonymous(event.source, store.read(event.source)))
    head = source[event.version - 1].hash if event is not None else ""
    moved = loading.moved_values(store, run_id, log)
    waiting = (e.event for e in log if isinstance(e.event, facts.TaskWaiting))
    children = dict.fromkeys(event.child for event in waiting if event.child)
    return History(
        flow,
        run_id,
        {digest: content.decode("latin-1") for digest, content in moved.items()},
        list(anonymous(run_id, _pointing(store.read(run_id), head))),
        source,
        [_kept(_factory(child), child) for child in children],
    )


def _factory(run_id: str) -> str:
    stream = corpus.app.runtime.store.stream(run_id)
    assert stream is not None
    return stream.factory


def _pointing(events: Iterable[StoredEvent], head: str) -> Iterator[StoredEvent]:
    """A fork names the hash of its source, which is another without the machine."""
    for e in events:
        if e.type == "RunForked":
            event = decode(e.type, e.schema_version, e.payload)
            yield replace(e, payload=encode(msgspec.structs.replace(event, hash=head)))
        else:
            yield e


def anonymous(run_id: str, events: Iterable[StoredEvent]) -> Iterator[Row]:
    """The events without the machine they were written on (people, paths in tracebacks), chained anew."""
    head = GENESIS
    for e in events:
        payload = e.payload.replace(f"{ROOT}/".encode(), b"")
        head = link(head, run_id.encode(), e.version, e.type, e.schema_version, e.path, e.time_us, ACTOR, payload)
        yield Row(e.version, e.type, e.schema_version, e.path, e.time_us, ACTOR, payload.decode(), head.hex())


def main(release: str) -> None:
    place = HERE / release
    place.mkdir(exist_ok=True)
    with TemporaryDirectory() as directory:
        os.environ["FLOWLEDGER_DATABASE_URL"] = f"sqlite:///{directory}/log.db"  # memory has no transactions
        os.environ["FLOWLEDGER_CODEC_KEYS"] = new_key("golden", "aes").line  # nobody needs it to read a log
        for flow in sorted(flow for flow in RECORDED if not (place / f"{flow}.json").exists()):
            os.environ[corpus.TRACE] = str(Path(directory) / flow)
            text = msgspec.json.format(msgspec.json.encode(record(flow)), indent=1)
            (place / f"{flow}.json").write_bytes(text + b"\n")
        corpus.app.close()


if __name__ == "__main__":
    main(sys.argv[1])
