"""RELIABILITY R1 and R2 for what people do: a rerun, a revert, a fork, an adoption, or a deployment in whose middle the
process dies ends like one in which nobody died."""

from __future__ import annotations

import re
from typing import Any

import pytest

from flowledger.adapters.sources import forked
from flowledger.core.inheriting import had
from flowledger.core.plan import Plan
from flowledger.core.replay import check, check_complete
from flowledger.events import facts
from flowledger.events.envelope import Envelope
from tests.crash import corpus, points
from tests.crash.compare import comparable, envelopes
from tests.crash.deeds import DEEDS, RELEASE, changing
from tests.crash.job import Choice, Outcome
from tests.crash.test_rel_r1_r2_crash_at_append import assert_bodies_follow_the_log, crashed

pytestmark = [pytest.mark.crash, pytest.mark.timeout(1200 if points.LONG else 120)]

SAME_AGAIN = sorted(DEEDS.keys() - {"change"})
ON_POSTGRES = SAME_AGAIN if points.LONG else ["adopt", "rerun_from"]


def plan_of(deed: str) -> Plan:
    return corpus.app.plan(DEEDS[deed][1](), executor="inline")


def logged(deed: str, outcome: Outcome) -> tuple[list[Envelope], list[Envelope]]:
    """The log of the run and that of its source; each is valid and complete (D8)."""
    log = envelopes(outcome.run_id, outcome.rows)
    event = forked(log)
    source = [] if event is None else envelopes(event.source, outcome.source)
    plan, moved = plan_of(deed), {digest: content.encode("latin-1") for digest, content in outcome.moved.items()}
    taken = None if event is None else had(source, until=event.version)
    check_complete(plan, check(plan, log, moved=moved, taken=taken))
    if source:
        check_complete(plan, check(plan, source))
    return log, source


def alike(deed: str, log: list[Envelope]) -> list[Any]:
    """What two logs of a deed have in common. Each run has a key of its own, and so do digests of what it encrypts."""
    if not deed.endswith("secrets"):
        return list(comparable(log))
    return [re.sub(r"\b[0-9a-f]{32,64}\b", "…", repr(fact)) for fact in comparable(log)]


@pytest.mark.parametrize("choice", ["boundaries", "inside"])
@pytest.mark.parametrize("deed", SAME_AGAIN)
def test_rel_r1_r2_g5_g6_crash_in_the_middle_of(deed: str, choice: Choice) -> None:
    assert_ends_like_one_in_which_nobody_died(deed, choice)


@pytest.mark.parametrize("choice", ["boundaries", "inside"])
@pytest.mark.parametrize("deed", ON_POSTGRES)
def test_rel_r1_r2_g5_g6_crash_on_postgres_in_the_middle_of(deed: str, choice: Choice, postgres_url: str) -> None:
    assert_ends_like_one_in_which_nobody_died(deed, choice, postgres_url)


def assert_ends_like_one_in_which_nobody_died(deed: str, choice: Choice, database_url: str = "") -> None:
    # Given what it comes to when nobody dies
    whole, outcomes = crashed(deed, "inline", choice, database_url)
    expected = [alike(deed, log) for log in logged(deed, whole)]

    # When the process dies before, after (R1) or inside (R2) an append, and the same is asked for again
    for point, outcome in outcomes:
        # Then end, results and logs are the same, but for what the crash and the resume wrote
        assert outcome.died, f"{point} was not reached"
        assert (outcome.state, outcome.results) == (whole.state, whole.results), point
        log, source = logged(deed, outcome)
        assert [alike(deed, log), alike(deed, source)] == expected, point
        assert_bodies_follow_the_log(log, outcome, source)


def _plan_of_release(release: int) -> Plan:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RELEASE, "now", release)
        return corpus.app.plan(changing(), executor="inline")


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_rel_r1_e8_another_release_is_deployed_between_crash_and_resume(
    store: str, request: pytest.FixtureRequest
) -> None:
    # Given two releases, of which the second has no fifth part, but a sixth and a seventh
    url = str(request.getfixturevalue("postgres_url")) if store == "postgres" else ""
    plans = {release: _plan_of_release(release) for release in (1, 2)}
    release_of = {plan.fingerprint: release for release, plan in plans.items()}

    # When the process of the first dies at an append, and the second goes on, if it may
    _, outcomes = crashed("change", "inline", "boundaries", url)

    releases = set[int]()
    for point, outcome in outcomes:
        log = envelopes(outcome.run_id, outcome.rows)
        started = next(e.event.fingerprint for e in log if isinstance(e.event, facts.RunStarted))
        changes = [e.event.fingerprint for e in log if isinstance(e.event, facts.PlanChanged)]
        fifth = any(e.path == "changing/step-5" for e in log)

        # Then it has where the fifth part had no history, has said so once, and the whole log is valid under it
        release = release_of[[started, *changes][-1]]
        releases.add(release)
        assert outcome.state == "SUCCEEDED"
        assert (release == 1) == fifth, point
        assert len(changes) == (release == 2 and release_of[started] == 1), point
        check_complete(plans[release], check(plans[release], log))
        assert ("changing/step-7" in outcome.results) == (release == 2), point
        assert_bodies_follow_the_log(log, outcome)
    assert releases == {1, 2}
