"""What `app.history` answers, on every store: queries, pages, attempts, audit, figures (B1, H1; RELIABILITY S6)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import product

import pytest

from flowledger.adapters import views as reading
from flowledger.adapters.views import Views
from flowledger.events import facts
from flowledger.events.errors import InputError
from flowledger.events.store import Store
from flowledger.projections.history import HISTORY
from flowledger.projections.query import FIELDS
from tests.unit.build_log import BEGUN, DONE, FIRST, PAIR, SECOND
from tests.unit.written_log import START_US, STEP_US, Story, failure, write

from .streams import everything

IDS = [f"01J000000000000000000000{n:02}" for n in range(10)]


def submitted(flow: str = "build", key: str | None = None, **tags: str) -> Story:
    return [("", facts.RunSubmitted(app="shop", factory=flow, key=key, tags=tags))]


FAILED: Story = [
    *BEGUN,
    (SECOND, facts.TaskFailed(failure=failure(SECOND, message="no quota for 'n-1'"))),
    (PAIR, facts.RetryDecided(round=1, decision="REVERT", failures=(failure(SECOND),))),
    ("", facts.RunFailed(reason="stopped")),
    ("", facts.RequestAccepted(request="r", kind="revert", reason="cleaning up")),
]


@pytest.fixture
def views(store: Store) -> Iterator[Views]:
    """Ten runs: one done, one that failed and is being reverted, the others only submitted."""
    write(store, [*BEGUN, *DONE], run_id=IDS[0])
    write(store, FAILED, run_id=IDS[1], status="RUNNING", direction="BACK")
    for n, run_id in enumerate(IDS[2:]):
        colour = "red" if n % 2 else "blue"
        write(store, submitted(f"flow_{n}", f"k{n}", colour=colour, n=str(n)), run_id=run_id, status="PENDING")
    everything(store)
    with Views(store) as opened:
        assert opened.catch_up(within_s=60)
        yield opened


def found(views: Views, query: str) -> list[int]:
    return sorted(IDS.index(run.id) for run in views.each_run(query))


FOUND: list[tuple[str, list[int]]] = [
    ("", list(range(10))),
    ("state:succeeded", [0]),
    ("state:reverting,succeeded", [0, 1]),
    ("-state:pending", [0, 1]),
    ("flow:flow_*", list(range(2, 10))),
    ("flow:FLOW_*", []),
    ("flow~FLOW_", list(range(2, 10))),
    ("tag:colour=red", [3, 5, 7, 9]),
    ("tag:colour=r*", [3, 5, 7, 9]),
    ("tag:colour -tag:colour=red", [2, 4, 6, 8]),
    ("-tag:colour", [0, 1]),
    ("tag:team=a", [0, 1]),
    ("tag~RE", [3, 5, 7, 9]),
    ("key:k3,k4", [5, 6]),
    ("key:none", []),
    ("error~QUOTA", [1]),
    ("at:*/second", [1]),
    ("took:>=0.8s", [0, 1]),
    ("took:<1s", [0]),
    ("events:1", list(range(2, 10))),
    ("done:>=1 tasks:0", [0, 1]),
    ("id:01j*05", [5]),
    ("k3", [5]),
    ("submitted:>2h", list(range(10))),
    ("submitted:2023-11-14", list(range(10))),
    ("submitted:<2h", []),
    ("actor:me@here app:shop", list(range(10))),
    ("failure:" + "0" * 12, []),
]


def test_queries_find(views: Views) -> None:
    assert [(query, found(views, query)) for query, _ in FOUND] == FOUND


def test_a_failed_run_is_found_by_the_fingerprint_of_its_failure(views: Views) -> None:
    [group] = views.failures()
    assert (group.task, group.message, group.count, group.last_run) == ("second", "no quota for …", 1, IDS[1])
    assert found(views, f"failure:{group.failure}") == [1]


@pytest.mark.parametrize(
    "query",
    [
        "", "state:pending", "tag:colour=red", "tag:colour", "flow:flow_*,build", "events:1", "state:pending,succeeded",
        "tag:colour=red state:pending", "flow:flow_1,flow_3,flow_4 tag:colour=red", "state:live -flow:flow_2",
    ],
)  # fmt: skip
def test_pages_hold_every_run_once_the_newest_first_however_little_one_look_sees(
    views: Views, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [run.id for run in views.each_run(query)]
    assert whole == sorted(whole, reverse=True)
    for window, limit in ((1, 1), (2, 1), (3, 2), (4, 10)):
        monkeypatch.setattr(reading, "WINDOW", window)
        seen: list[str] = []
        after: str | None = None
        while True:
            page = views.runs(query, limit=limit, after=after)
            assert len(page.items) <= limit
            seen += [run.id for run in page.items]
            after = page.next
            if after is None:
                break
        assert seen == whole


def test_a_run_says_what_its_log_says(views: Views) -> None:
    run = views.run(IDS[1])
    assert run is not None
    assert (run.state, run.direction, run.failed_at, run.key) == ("REVERTING", "BACK", SECOND, "k")
    assert run.error == "QuotaError: no quota for 'n-1'"
    assert dict(run.tags) == {"team": "a"}
    assert run.submitted_us == START_US + STEP_US
    assert views.run("nobody") is None


def test_attempts_are_listed_and_narrowed(views: Views) -> None:
    every = views.attempts(IDS[1]).items
    assert [(a.path, a.state, a.stands) for a in every] == [(FIRST, "SUCCEEDED", True), (SECOND, "FAILED", False)]
    assert every[0].took_us() == STEP_US
    assert [a.path for a in views.attempts(IDS[1], path=SECOND).items] == [SECOND]
    assert [a.path for a in views.attempts(IDS[1], states=["SUCCEEDED"]).items] == [FIRST]
    first = views.attempts(IDS[1], limit=1)
    assert views.attempts(IDS[1], limit=1, after=first.next).items == every[1:]


def test_the_audit_goes_back_page_by_page(views: Views) -> None:
    whole = [(act.run_id, act.what) for act in views.audit().items]
    assert len(whole) == 11
    assert [act.what for act in views.audit(run_id=IDS[1]).items] == ["revert", "submit"]
    assert views.audit(actor="nobody").items == []
    assert len(views.audit(since_us=START_US + 2 * STEP_US).items) == 1
    seen, after = [], None
    while True:
        page = views.audit(limit=3, after=after)
        seen += [(act.run_id, act.what) for act in page.items]
        after = page.next
        if after is None:
            break
    assert seen == whole


def test_figures_of_flows_and_tasks(views: Views) -> None:
    figures = {f.task: f for f in views.statistics(flow="build")}
    assert figures["first"].succeeded == 2
    assert figures["first"].p50_us is not None
    assert abs(figures["first"].p50_us - STEP_US) < 0.125 * STEP_US
    assert figures["first"].mean_us == STEP_US
    assert (figures["second"].failed, figures["second"].failure_rate) == (1, 0.5)
    assert (figures[""].succeeded, figures[""].failed) == (1, 1)
    assert [f.task for f in views.statistics(task="last")] == ["last"]
    assert views.statistics(since_us=2**62) == []


HOSTILE = [
    "' OR '1'='1",
    "'; DROP TABLE history_1_runs; --",
    '" OR 1=1 --',
    "\\' OR 1=1",
    "%",
    "_",
    "[a-z]*",
    "\0",
    "${x}",
    "%s",
    "{v}",
    "?",
    ":x",
]
#: What tools that look for holes try, and ways to wrap it: all of them where there is time.
TRIED = [
    "1 UNION ALL SELECT NULL,NULL,NULL", "1;SELECT pg_sleep(5)", "1 AND SLEEP(5)", "1 OR 'a'='a", "1 OR 1=1",
    "1;ATTACH DATABASE 'x' AS x", "1/**/OR/**/1=1", "1 || (SELECT hash FROM events)", "1;COPY t TO PROGRAM 'id'",
    "1 AND 1=(SELECT COUNT(*) FROM pg_tables)", "1;DELETE FROM projections", "1;UPDATE history_1_runs SET state='X'",
    "1 AND EXTRACTVALUE(1,CONCAT(0x7e,version()))", "1;DROP SCHEMA public CASCADE", "1 ORDER BY 99", "1 LIMIT 1,1",
]  # fmt: skip
WRAPS = ["{}", "{}--", "' {}--", "') {}--", "'; {} #", '" {} --', "')) {}/*", "\\' {}", "\u02bc {}", "%27 {}",
         "$$ {} $$", "E'\\'' {}", "*{}*", "{},{}", "(({}", "\x00{}", "’ {}", "`{}`", "[{}]"]  # fmt: skip
LONG = bool(os.environ.get("FLOWLEDGER_TEST_LONG"))
INJECTED = [*HOSTILE, *(wrap.format(*[tried] * 2) for tried, wrap in product(TRIED, WRAPS))]


def test_rel_s6_nothing_that_is_typed_is_ever_sql(views: Views) -> None:
    # Given
    before, tables = [run.id for run in views.each_run()], everything_in(views)
    assert len(INJECTED) > 300
    # When
    for number, (field, hostile) in enumerate(product((*FIELDS, ""), INJECTED)):
        if number % 29 and hostile not in HOSTILE and not LONG:
            continue
        quoted = hostile.replace('"', "")
        forms = (f'{field}:"{quoted}"', f'{field}~"{quoted}"', f"-{field}:{hostile}", f'{field}:>"{quoted}"')
        for query in forms if hostile in HOSTILE or LONG else (forms[number // 29 % 4],):
            try:
                views.runs(query if field else hostile)
            except InputError:
                continue
    # Then
    assert [run.id for run in views.each_run()] == before
    assert everything_in(views) == tables


def everything_in(views: Views) -> object:
    """Which tables there are, and all that is in them."""
    opened = views._views
    return [(slot, opened.digest(HISTORY, slot)) for slot in opened.slots()]


def test_rel_s6_other_arguments_are_values_too(views: Views) -> None:
    for hostile in HOSTILE:
        assert views.attempts(hostile).items == []
        assert views.attempts(IDS[0], path=hostile, states=[hostile]).items == []
        assert views.audit(run_id=hostile).items == []
        assert views.audit(actor=hostile).items == []
        assert views.statistics(flow=hostile, task=hostile) == []
        assert views.failures(flow=hostile) == []
        for read in (views.runs, views.audit):
            with pytest.raises(InputError, match="is not where a page"):
                read(after=hostile)
        with pytest.raises(InputError):
            views.rows(hostile, "runs")


def test_a_page_has_bounds(views: Views) -> None:
    for limit in (0, -1, 10_001):
        with pytest.raises(InputError):
            views.runs(limit=limit)


def test_rows_of_a_projection_are_read_in_pages(views: Views) -> None:
    rows = views.rows("history", "runs", limit=4)
    assert [row["run_id"] for row in rows] == IDS[:4]
    assert views.rows("history", "runs", after=(IDS[8],))[0]["run_id"] == IDS[9]
