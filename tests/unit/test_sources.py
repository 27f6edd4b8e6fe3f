"""Reading the log of a run, page by page."""

from __future__ import annotations

import pytest

from flowledger.adapters import sources
from flowledger.adapters.stores.memory import MemoryStore
from flowledger.events import facts
from flowledger.events.envelope import StoredEvent
from flowledger.events.errors import Tampered
from tests.unit.written_log import RUN_ID, rows, write

STORY: list[tuple[str, facts.Event]] = [
    ("", facts.RunSubmitted(app="shop", factory="build")),
    *[(f"build/{n}", facts.TaskStarted(key=f"k{n}")) for n in range(9)],
]


class Asked(MemoryStore):
    """How many pages are asked for; ``cut`` leaves the log without an event."""

    def __init__(self, cut: int = 0) -> None:
        super().__init__()
        self.pages = 0
        self._cut = cut

    def read(self, run_id: str, *, after_version: int = 0, limit: int | None = None) -> list[StoredEvent]:
        self.pages += 1
        return [e for e in super().read(run_id, after_version=after_version) if e.version != self._cut][:limit]


@pytest.mark.parametrize(("page", "pages"), [(3, 4), (5, 3), (10, 2), (11, 1)])
def test_a_run_is_read_whole_and_a_page_that_is_not_full_is_the_last(
    page: int, pages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a log of ten events
    monkeypatch.setattr(sources, "PAGE", page)
    store = Asked()
    write(store, STORY, status="RUNNING")
    # When
    found = sources.read(store, RUN_ID)
    # Then
    assert [envelope.hash for envelope in found] == [row.hash for row in rows(STORY)]
    assert store.pages == pages


@pytest.mark.parametrize("cut", [1, 3, 4, 9])
def test_a8_an_event_that_is_missing_is_missed_wherever_a_page_ends(cut: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given pages of three, and a log without one of its events
    monkeypatch.setattr(sources, "PAGE", 3)
    store = Asked(cut)
    write(store, STORY, status="RUNNING")
    # Then
    with pytest.raises(Tampered) as caught:
        sources.read(store, RUN_ID)
    assert caught.value.version == cut
