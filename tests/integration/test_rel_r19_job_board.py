"""R19: the job board under eight clients: what it answers could have happened one after the other.

Every claim, release and take-over is recorded with what it was told. Per run the epochs of granted claims only rise, no
epoch is granted twice, an append under an old epoch is refused once a newer one was granted, and in the end nothing is
left that nobody can claim.
"""

from __future__ import annotations

import os
import random
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Lock

import pytest
from sqlalchemy import make_url

from flowledger.adapters.stores import open_store
from flowledger.events.board import Offer
from flowledger.events.errors import Fenced
from flowledger.events.store import Appended, Store
from tests.conformance.streams import Run, joined, new_run

CLIENTS = 8
RUNS = 40
#: In each test run as many as take some seconds, by what the store's disk lets through; or so many on each.
OPERATIONS = {"memory": 20_000, "sqlite": 2_000, "postgresql": 5_000}
ASKED = int(os.environ.get("FLOWLEDGER_TEST_R19_OPERATIONS", "0"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(max(600, ASKED // 100))]

OFFER = Offer(app="shop", factories=("order",), queues=("shop",), takeover_s=60)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    found = {"memory": f"memory://{tmp_path}", "sqlite": f"sqlite:///{tmp_path}/log.db"}
    return found.get(request.param) or str(request.getfixturevalue("postgres_url"))


class History:
    """What was granted."""

    def __init__(self, runs: dict[str, Run]) -> None:
        self.lock = Lock()
        self.runs = runs
        self.granted: dict[str, list[tuple[int, str]]] = defaultdict(list)  # by run: epoch and owner, as they came


def client(store: Store, history: History, seed: int, operations: int) -> None:
    """Claims, appends, lets go, dies and joins anew, as the dice say."""
    dice = random.Random(seed)
    me = joined(store).id
    mine: dict[str, tuple[int, int, bytes]] = {}
    for _ in range(operations):
        what = dice.random()
        if what < 0.4:
            for run_id, claim in store.board.claim(me, OFFER, limit=dice.randint(1, 4)):
                mine[run_id] = claim
                with history.lock:
                    history.granted[run_id].append((claim.epoch, me))
        elif what < 0.75 and mine:
            _append(store, mine, dice.choice(sorted(mine)))
        elif what < 0.9 and mine:
            run_id = dice.choice(sorted(mine))
            store.release(run_id, epoch=mine.pop(run_id)[0])
        elif what < 0.95 and mine:
            store.board.free(dice.choice(sorted(mine)))  # a person takes it away; we do not hear of it
        elif what < 0.97:
            store.leave(me)  # our runs are anybody's now, and what we append under them must not count
            me = joined(store).id
    for run_id, (epoch, _, _) in mine.items():
        store.release(run_id, epoch=epoch)
    store.leave(me)


def _append(store: Store, mine: dict[str, tuple[int, int, bytes]], run_id: str) -> None:
    epoch, version, head = mine[run_id]
    run = Run(run_id, epoch=epoch, version=version, head=head)
    request = run.next(actor=str(epoch))  # so that the log tells under which epoch it was let through
    (result,) = store.append([request])
    if isinstance(result, Appended):
        run.appended(request)
        mine[run_id] = (epoch, run.version, run.head)
    else:
        assert isinstance(result, Fenced), result
        del mine[run_id]


def test_rel_r19_epochs_rise_and_no_older_one_appends_after_a_newer(url: str) -> None:
    # Given
    with closing(open_store(url)) as store, closing(open_store(url)) as elsewhere:
        runs = {run.run_id: run for run in (new_run(store, queue="shop", priority=n % 3) for n in range(RUNS))}
        history = History(runs)
        # When
        with ThreadPoolExecutor(CLIENTS) as pool:
            each = (ASKED or OPERATIONS[make_url(url).get_backend_name()]) // CLIENTS
            done = [pool.submit(client, (store, elsewhere)[n % 2], history, 1900 + n, each) for n in range(CLIENTS)]
            for one in done:
                one.result()
        # Then each epoch was granted once
        for granted in history.granted.values():
            epochs = [epoch for epoch, _ in granted]
            assert len(set(epochs)) == len(epochs)
        # and in the log itself, which is the order in which they were let through, epochs never fall
        for run_id in runs:
            epochs = [int(event.actor) for event in store.read(run_id)[1:]]
            assert epochs == sorted(epochs), run_id
        # and nothing is left that nobody may have
        last = joined(store).id
        left = store.board.claim(last, OFFER, limit=RUNS)
        assert {run_id for run_id, _ in left} == set(runs)
