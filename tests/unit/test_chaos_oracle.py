"""What the chaos oracle finds: each damage that it is there for, planted into the log and ledger of a real run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from flowledger import App
from flowledger.core.plan import Plan
from flowledger.events import facts
from flowledger.events.envelope import Envelope
from flowledger.events.failure import Failure
from tests.acceptance.logs import log_of
from tests.chaos import shop
from tests.chaos.chaos import on_again
from tests.chaos.ledger import Body, Ledger
from tests.chaos.load import Order
from tests.chaos.oracle import Verdict, is_parked, judge
from tests.chaos.world import Death


class Made(NamedTuple):
    """What a run has left."""

    order: Order
    plan: Plan
    log: list[Envelope]
    begun: dict[Body, int]
    ended: dict[Body, int]

    def judged(self) -> Verdict:
        verdict = Verdict()
        judge(verdict, self.order.wanted(), self.plan, self.log, self.begun, self.ended)
        return verdict

    def at(self, path: str, kind: type[facts.Event]) -> int:
        return next(n for n, e in enumerate(self.log) if e.path == path and isinstance(e.event, kind))

    def body(self, path: str) -> Body:
        return next(body for body in self.begun if body.path == path)


@pytest.fixture
def app() -> Iterator[App]:
    with closing(App("chaos", database_url="memory://")) as found:
        found.include(shop.app)
        yield found


@pytest.fixture
def fan(app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    monkeypatch.setenv("CHAOS_LEDGER", str(tmp_path / "ledger"))
    run = app.run(shop.fan(3))
    ledger = Ledger(tmp_path / "ledger")
    plan = app.plan(shop.fan(3))
    return Made(Order(run.id, "fan", 3), plan, log_of(app, run), dict(ledger.begun()), dict(ledger.ended()))


def test_an_undisturbed_run_is_good(fan: Made) -> None:
    verdict = fan.judged()
    assert verdict.is_good, list(verdict.problems())
    assert verdict.attempts == 5


@pytest.mark.parametrize("flow", ["chain", "undone", "stubborn"])
def test_each_of_its_flows_ends_as_the_oracle_wants(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flow: str
) -> None:
    monkeypatch.setenv("CHAOS_LEDGER", str(tmp_path / "ledger"))
    part = getattr(shop, flow)(4)
    run, ledger = app.run(part, check=False), Ledger(tmp_path / "ledger")
    verdict = Verdict()
    judge(verdict, Order(run.id, flow, 4).wanted(), app.plan(part), log_of(app, run), ledger.begun(), ledger.ended())
    assert verdict.is_good, list(verdict.problems())


def test_a_log_that_is_gone_is_lost(fan: Made) -> None:
    fan.log.clear()
    assert fan.judged().lost


def test_a_run_that_does_not_go_on_is_stuck(fan: Made) -> None:
    del fan.log[fan.at("fan/total", facts.TaskStarted) :]
    assert fan.judged().stuck


def test_an_outcome_that_is_there_twice_is_doubled(fan: Made) -> None:
    at = fan.at("fan/total", facts.TaskSucceeded)
    fan.log.insert(at, fan.log[at])
    assert fan.judged().doubled


def interrupted(fan: Made, at: int, attempt: int = 1) -> None:
    """Say that an attempt of the join was lost."""
    event = facts.TaskInterrupted(attempt=attempt, cause="gone")
    fan.log.insert(at, replace(fan.log[at], path="fan/total", event=event))


def test_an_attempt_that_was_taken_for_lost_may_come_to_an_end_all_the_same_and_not_the_other_way_round(
    fan: Made,
) -> None:
    before = fan._replace(log=list(fan.log))
    interrupted(before, before.at("fan/total", facts.TaskSucceeded))
    assert not before.judged().doubled
    interrupted(fan, fan.at("fan/total", facts.TaskSucceeded) + 1)
    assert fan.judged().doubled


def test_an_attempt_that_another_of_its_try_has_settled_is_not_lost(fan: Made) -> None:
    at = fan.at("fan/total", facts.TaskStarted)
    started = fan.log[at].event
    assert isinstance(started, facts.TaskStarted)
    second = facts.TaskStarted(attempt=2, key=started.key)
    interrupted(fan, at + 1)
    fan.log.insert(at + 2, replace(fan.log[at], event=second))
    assert not fan.judged().lost


def test_an_attempt_without_an_outcome_in_a_run_that_has_ended_is_lost(fan: Made) -> None:
    del fan.log[fan.at("fan/total", facts.TaskSucceeded)]
    assert fan.judged().lost


def test_a_body_that_began_twice_for_one_attempt_is_doubled(fan: Made) -> None:
    fan.begun[fan.body("fan/total")] = 2
    assert fan.judged().doubled


@pytest.mark.parametrize(
    "damage",
    [
        lambda made: made.begun.update({made.body("fan/total")._replace(attempt=2): 1}),
        lambda made: made.ended.pop(made.body("fan/total")),
        lambda made: made.log.pop(made.at("fan/total", facts.TaskStarted)),
        lambda made: made.log.insert(3, made.log[made.at("", facts.RunClaimed)]),
    ],
    ids=["a body of no recorded start", "done without a body", "an outcome of no start", "an epoch twice"],
)
def test_what_no_history_explains_is_wrong(fan: Made, damage: Callable[[Made], None]) -> None:
    damage(fan)
    assert fan.judged().wrong


def test_c6_a_task_is_parked_by_as_many_losses_as_it_may_have_no_fewer_and_no_more(fan: Made) -> None:
    # Given losses of a task that may have three
    def judged(losses: int, *, parked: bool) -> list[str]:
        verdict, log = Verdict(), list[Envelope]()
        events: list[facts.Event] = [facts.TaskInterrupted(attempt=n, cause="gone") for n in range(losses)]
        poison = Failure(path="fan/total", type="Interrupted", message="", kind="poison")
        events += [facts.TaskFailed(failure=poison)] if parked else []
        log += [replace(fan.log[0], path="fan/total", event=event) for event in events]
        assert is_parked(verdict, "run", log, fan.plan) == parked
        return verdict.wrong

    # Then
    assert not judged(3, parked=True)
    assert not judged(2, parked=False)
    assert judged(2, parked=True)
    assert judged(4, parked=False)


def test_a_run_that_ends_in_another_way_is_wrong(fan: Made) -> None:
    other = fan._replace(order=Order(fan.order.run_id, "undone", 3))
    assert any("was to be REVERTED" in line for line in other.judged().wrong)
    larger = fan._replace(order=Order(fan.order.run_id, "fan", 4))
    assert any("was to make b'6' once" in line for line in larger.judged().wrong)


def test_the_time_until_others_go_on_is_read_from_the_claims() -> None:
    def claim(owner: str, at_s: float) -> Envelope:
        return Envelope("r", 1, "", int(at_s * 1e6), "", facts.RunClaimed(owner=owner, epoch=1), b"")

    logs: Sequence[Sequence[Envelope]] = [
        [claim("a", 1), claim("b", 4)],  # a died at 2
        [claim("a", 1)],  # had ended before
        [claim("b", 1), claim("a", 3)],  # b lives
    ]
    assert on_again(logs, [Death(11, 2_000_000)], {"a": 11, "b": 12}) == [2.0]
