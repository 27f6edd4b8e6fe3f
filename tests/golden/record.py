"""Writes today's logs of the corpus as golden histories: `python -m tests.golden.record`.

Once per release, into a folder of its own; what is there is never written again. A history that no longer replays means
that logs of that release can no longer be read: lift the event (`events/upcast.py`), never the history.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from flowledger.adapters import loading
from flowledger.events.chain import GENESIS, link
from flowledger.events.envelope import StoredEvent
from tests.crash import corpus
from tests.crash.job import Row

HERE = Path(__file__).parent
ROOT = Path(__file__).parents[2]
ACTOR = "somebody@somewhere"


class History(msgspec.Struct):
    """One run as it was stored: its payload rows by digest, its events."""

    flow: str
    run_id: str
    moved: dict[str, str]
    rows: list[Row]


def record(flow: str) -> History:
    """Run a flow of the corpus and keep what the store keeps."""
    run = corpus.app.run(getattr(corpus, flow)(), executor="inline", check=False)
    store = corpus.app.runtime.store
    moved = loading.moved_values(store, run.id, loading.read(store, run.id))
    return History(
        flow,
        run.id,
        {digest: content.decode() for digest, content in moved.items()},
        list(anonymous(run.id, store.read(run.id))),
    )


def anonymous(run_id: str, events: Iterable[StoredEvent]) -> Iterator[Row]:
    """The events without the machine they were written on (people, paths in tracebacks), chained anew."""
    head = GENESIS
    for e in events:
        payload = e.payload.replace(f"{ROOT}/".encode(), b"")
        head = link(head, run_id.encode(), e.version, e.type, e.schema_version, e.path, e.time_us, ACTOR, payload)
        yield Row(e.version, e.type, e.schema_version, e.path, e.time_us, ACTOR, payload.decode(), head.hex())


def main(release: str) -> None:
    place = HERE / release
    place.mkdir()
    os.environ["FLOWLEDGER_DATABASE_URL"] = "memory://"
    with TemporaryDirectory() as traces:
        for flow in sorted(corpus.ENDS):
            os.environ[corpus.TRACE] = str(Path(traces) / flow)
            text = msgspec.json.format(msgspec.json.encode(record(flow)), indent=1)
            (place / f"{flow}.json").write_bytes(text + b"\n")
    corpus.app.close()


if __name__ == "__main__":
    main(sys.argv[1])
