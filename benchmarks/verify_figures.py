"""`verify --all`: events per second, on SQLite (hashed in Python) and Postgres (hashed by the database).

python -m benchmarks.verify_figures [--runs 2000] [--events 100] [--postgres URL]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import closing

from flowledger.adapters.ids import new_ulid
from flowledger.adapters.stores import open_store
from flowledger.adapters.stores.postgres import locate, upgrading
from flowledger.adapters.verifying import verify_all
from flowledger.events.chain import GENESIS, link
from flowledger.events.envelope import StoredEvent
from flowledger.events.store import Append, NewStream, Store

PAYLOAD = b'{"key":"%s","inputs":"%s","code":"%s"}' % (b"k" * 32, b"i" * 32, b"c" * 64)  # 167 bytes, as a start has
ROUNDS = 3


def fill(store: Store, runs: int, events: int) -> None:
    """Runs through the real append, 50 to a batch."""
    batch: list[Append] = []
    for _ in range(runs):
        run_id, head, rows = new_ulid(), GENESIS, list[StoredEvent]()
        for version in range(1, events + 1):
            head = link(head, run_id.encode(), version, "TaskStarted", 1, "flow/task", version, "me@host", PAYLOAD)
            rows.append(StoredEvent(version, "TaskStarted", 1, "flow/task", version, "me@host", PAYLOAD, head))
        stream = NewStream(app="bench", factory="f", key=None, inputs_digest="")
        batch.append(Append(run_id=run_id, expected=0, epoch=0, events=rows, status="SUCCEEDED", create=stream))
        if len(batch) == 50:
            store.append(batch)
            batch = []
    if batch:
        store.append(batch)


def measure(url: str, runs: int, events: int) -> str:
    """Median, least and most of some rounds."""
    with closing(open_store(url)) as store:
        fill(store, runs, events)
        rates: list[float] = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            done = verify_all(store)
            rates.append(done.events / (time.perf_counter() - began))
            assert done.holds
            assert done.events >= runs * events
    return f"{statistics.median(rates):>9,.0f} events/s ({min(rates):,.0f} to {max(rates):,.0f})"


def main() -> None:
    """Measure, and say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2_000)
    parser.add_argument("--events", type=int, default=100)
    parser.add_argument("--postgres", help="a database to make a schema in")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(f"sqlite    {measure(f'sqlite:///{folder}/log.db', given.runs, given.events)}")
    if given.postgres:
        separator = "&" if "?" in given.postgres else "?"
        url = f"{given.postgres}{separator}schema=verify_{new_ulid().lower()}"
        upgrading.upgrade(locate(url), actor="bench", make_roles=False)
        print(f"postgres  {measure(url, given.runs, given.events)}")


if __name__ == "__main__":
    main()
