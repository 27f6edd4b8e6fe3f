"""Behind pgbouncer in transaction mode: many clients, few sessions, none of them ours.

The whole conformance suite runs through it with `FLOWLEDGER_TEST_LONG=1`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from sqlalchemy import make_url

from flowledger.adapters.stores.postgres import PostgresStore, locate, upgrading
from flowledger.events.errors import StoreUnavailable
from flowledger.events.store import Appended, Claim, Held
from tests.conformance.streams import everything, joined, new_run
from tests.postgres import sql


def test_many_stores_share_few_sessions(pooled_url: str) -> None:
    with ExitStack() as stack:
        # Given: twelve connections of four processes over three sessions
        stores = [PostgresStore.from_url(pooled_url) for _ in range(4)]
        for store in stores:
            stack.callback(store.close)
        runs = [new_run(store) for store in stores]

        def work(n: int) -> None:
            owner = joined(stores[n])
            for k in range(20):
                runs[n].put(stores[n], 1 + k % 6)
                stores[n].beat(owner.id)
                assert stores[n].read(runs[n].run_id, after_version=runs[n].version - 1)

        # When
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        # Then
        assert len(everything(stores[0])) == sum(run.version for run in runs)
        batch = [run.next() for run in runs]
        assert [type(result) for result in stores[1].append(batch)] == [Appended] * 4


def test_b2_an_owner_behind_the_pooler_is_judged_by_its_heartbeat(pooled_url: str, postgres_url: str) -> None:
    with ExitStack() as stack:
        pooled, direct = PostgresStore.from_url(pooled_url), PostgresStore.from_url(postgres_url)
        stack.callback(pooled.close)
        stack.callback(direct.close)
        owner, me = joined(pooled), joined(direct)
        run = new_run(pooled, owner=owner.id)
        assert isinstance(direct.claim(run.run_id, me.id, takeover_s=3600), Held)
        assert isinstance(direct.claim(run.run_id, me.id, takeover_s=-1), Claim)
        assert sql(postgres_url, "SELECT count(*) FROM {s}.owners WHERE presence IS NULL") == [(1,)]


def test_whoever_forgets_to_say_so_is_told(pooled_url: str) -> None:
    # Given
    url = make_url(pooled_url).difference_update_query(["pooler"]).render_as_string(hide_password=False)
    # When
    with pytest.raises(StoreUnavailable) as caught:
        PostgresStore.from_url(url)
    # Then
    assert "pooler=transaction" in caught.value.hint


def test_an_upgrade_goes_through_the_pooler_too(pooled_url: str) -> None:
    assert upgrading.upgrade(locate(pooled_url), actor="me", make_roles=False).is_ready
