"""D8: the same flow and inputs give the same log on every store, but for the fields an event declares volatile."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowledger import Flow
from flowledger.adapters import loading
from flowledger.core.replay import check, check_complete
from flowledger.events.envelope import Envelope
from tests.crash import corpus
from tests.crash.compare import comparable


def logged(flow: str, url: str) -> tuple[list[Envelope], object]:
    """Run a flow of the corpus on a store of its own; its log, verified and replayed, and its results."""
    corpus.app.close()
    corpus.app.use(database_url=url)
    part: Flow[object] = getattr(corpus, flow)()
    run = corpus.app.run(part, executor="inline", check=False)
    store = corpus.app.runtime.store
    log = loading.read(store, run.id)
    plan = corpus.app.plan(part, executor="inline")
    check_complete(plan, check(plan, log, moved=loading.moved_values(store, run.id, log)))
    found = (log, (run.state, dict(run.results)))
    corpus.app.close()
    return found


@pytest.mark.parametrize("flow", sorted({*corpus.ALL_ENDS} - {*corpus.ASKED}))  # those wait for somebody to write
def test_d8_the_log_is_the_same_in_memory_on_sqlite_and_on_postgres(
    flow: str, tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given the three stores
    logs, ends = list[list[Envelope]](), list[object]()
    for n, url in enumerate(["memory://", f"sqlite:///{tmp_path}/log.db", postgres_url]):
        # When the same flow runs on each
        monkeypatch.setenv(corpus.TRACE, str(tmp_path / f"trace-{n}"))
        log, end = logged(flow, url)
        logs.append(log)
        ends.append(end)
    # Then logs, ends and results are equal
    assert comparable(logs[0]) == comparable(logs[1]) == comparable(logs[2])
    assert ends[0] == ends[1] == ends[2]
