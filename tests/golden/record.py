"""Writes today's logs of the corpus as golden histories: `python -m tests.golden.record`.

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

from flowledger import Flow, Run
from flowledger.adapters import loading
from flowledger.adapters.sources import forked
from flowledger.events.chain import GENESIS, link
from flowledger.events.codec import decode, encode
from flowledger.events.envelope import StoredEvent
from flowledger.testing import crash_at
from tests.crash import corpus
from tests.crash.deeds import DEEDS, RELEASE, changing
from tests.crash.job import Row

HERE = Path(__file__).parent
ROOT = Path(__file__).parents[2]
ACTOR = "somebody@somewhere"


class History(msgspec.Struct):
    """One run as it was stored: its payload rows by digest, its events; of a fork, those of its source, too."""

    flow: str
    run_id: str
    moved: dict[str, str]
    rows: list[Row]
    source: list[Row] = []


def record(flow: str) -> History:
    """Run a flow of the corpus, or do a deed, and keep what the store keeps."""

    def go(part: Flow[Any]) -> Run[Any]:
        return corpus.app.run(part, key=flow, executor="inline", check=False)

    deed = DEEDS.get(flow)
    if flow == "change":  # as the driver has it: the process dies half-way, and another release goes on
        with crash_at(corpus.app, "TaskSucceeded", "changing/step-3"):
            go(changing())
        RELEASE["now"] = 2
    run = go(getattr(corpus, flow)()) if deed is None else deed[0](go)
    store = corpus.app.runtime.store
    log = loading.read(store, run.id)
    event = forked(log)
    source = [] if event is None else list(anonymous(event.source, store.read(event.source)))
    head = source[event.version - 1].hash if event is not None else ""
    moved = loading.moved_values(store, run.id, log)
    return History(
        flow,
        run.id,
        {digest: content.decode() for digest, content in moved.items()},
        list(anonymous(run.id, _pointing(store.read(run.id), head))),
        source,
    )


def _pointing(events: Iterable[StoredEvent], head: str) -> Iterator[StoredEvent]:
    """A fork names the hash of its source, which is another without the machine."""
    for e in events:
        if e.type == "RunForked":
            event = decode(e.type, e.schema_version, e.payload)
            yield e._replace(payload=encode(msgspec.structs.replace(event, hash=head)))
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
    os.environ["FLOWLEDGER_DATABASE_URL"] = "memory://golden"
    with TemporaryDirectory() as traces:
        alone = {*corpus.ENDS, *DEEDS} - {*corpus.ASKED}  # the others wait for somebody to write
        for flow in sorted(flow for flow in alone if not (place / f"{flow}.json").exists()):
            os.environ[corpus.TRACE] = str(Path(traces) / flow)
            text = msgspec.json.format(msgspec.json.encode(record(flow)), indent=1)
            (place / f"{flow}.json").write_bytes(text + b"\n")
    corpus.app.close()


if __name__ == "__main__":
    main(sys.argv[1])
