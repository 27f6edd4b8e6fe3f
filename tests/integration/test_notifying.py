"""Being told: rules over runs, each message at least once, however often its teller dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from flowledger.adapters.notifying import sender as sending
from flowledger.adapters.notifying.rules import Rule
from flowledger.adapters.notifying.sender import GIVE_UP, LOOK_BACK_S, Sender
from flowledger.adapters.projecting.projector import Projector, rebuild
from flowledger.adapters.stores.memory import MemoryStore
from flowledger.adapters.stores.views import views_of
from flowledger.events import facts
from flowledger.events.errors import DefinitionError, InputError
from flowledger.events.store import Store
from flowledger.projections.history import HISTORY
from flowledger.projections.projection import Projection
from flowledger.projections.view_store import Slot, ViewStore
from tests.integration.listening import FAILED, Listening
from tests.unit.build_log import BEGUN, SECOND
from tests.unit.written_log import RUN_ID, START_US, STEP_US, Story, write

OTHER_ID = "01J0000000000000000000000B"


SOON_US = START_US + 100 * STEP_US


@dataclass
class World:
    store: Store
    views: ViewStore
    now_us: int = SOON_US

    def project(self) -> None:
        assert Projector(self.store, self.views, HISTORY).catch_up(within_s=60)

    def sender(self, *rules: Rule) -> Sender:
        return Sender(self.store, self.views, "shop", rules)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    store = MemoryStore()
    with closing(views_of(store)) as views:
        world = World(store, views)
        monkeypatch.setattr(store, "now_us", lambda: world.now_us)
        yield world


def test_a_run_that_fails_is_told_once(world: World) -> None:
    # Given
    channel = Listening()
    write(world.store, FAILED, status="FAILED")
    world.project()
    sender = world.sender(Rule("ops", channel))
    # When
    assert [sender.round() for _ in range(3)] == [1, 0, 0]
    # Then
    [notice] = channel.got
    assert notice == {
        "id": f"{RUN_ID}-9", "kind": "failed", "time_us": START_US + 9 * STEP_US, "app": "shop", "flow": "build",
        "run": RUN_ID, "event": 9, "state": "FAILED", "key": "k", "at": SECOND, "text": "QuotaError: no quota",
    }  # fmt: skip


def test_what_happened_while_nobody_sent_is_told_later_and_in_order(world: World) -> None:
    channel = Listening()
    rule = Rule("ops", channel)
    world.sender(rule).round()
    for run_id in (RUN_ID, OTHER_ID):
        write(world.store, FAILED, run_id=run_id, status="FAILED")
    world.project()
    sender = world.sender(rule)  # another process, after the first one died
    assert [sender.round() for _ in range(3)] == [1, 1, 0]
    assert [notice["run"] for notice in channel.got] == [RUN_ID, OTHER_ID]


def test_a_rebuild_tells_nobody_anything_twice(world: World) -> None:
    channel = Listening()
    write(world.store, FAILED, status="FAILED")
    world.project()
    sender = world.sender(Rule("ops", channel))
    sender.round()
    rebuild(world.store, world.views, HISTORY)
    assert sender.round() == 0
    assert len(channel.got) == 1


def test_a_new_rule_does_not_tell_all_history(world: World) -> None:
    channel = Listening()
    write(world.store, FAILED, status="FAILED")
    world.project()
    world.now_us += (LOOK_BACK_S + 100) * 1_000_000
    assert world.sender(Rule("ops", channel)).round() == 0
    assert channel.got == []


def test_only_what_a_rule_wants_is_told(world: World) -> None:
    # Given
    channels = {name: Listening() for name in ("flow", "other", "kind", "app")}
    write(world.store, FAILED, status="FAILED")
    world.project()
    # When
    world.sender(
        Rule("flow", channels["flow"], query="flow:b* tag:team=a"),
        Rule("other", channels["other"], query="-flow:build"),
        Rule("kind", channels["kind"], on=("stuck",), stuck_after_s=1e9),
    ).round()
    Sender(world.store, world.views, "another", [Rule("app", channels["app"])]).round()
    # Then
    assert {name: len(channel.got) for name, channel in channels.items()} == {
        "flow": 1,
        "other": 0,
        "kind": 0,
        "app": 0,
    }


def test_a_run_that_a_person_had_undone_is_no_failure(world: World) -> None:
    channel = Listening()
    story: Story = [
        *FAILED,
        ("", facts.RequestAccepted(request="r", kind="revert", reason="x")),
        ("", facts.RunReverted()),
    ]
    write(world.store, story, status="REVERTED")
    write(world.store, [*BEGUN, ("", facts.RunReverted())], run_id=OTHER_ID, status="REVERTED")
    world.project()
    sender = world.sender(Rule("ops", channel))
    while sender.round():
        pass
    assert [(n["run"], n["event"]) for n in channel.got] == [(RUN_ID, 9), (OTHER_ID, 8)]


def test_a_person_is_needed_where_a_task_is_held_or_cannot_be_undone(world: World) -> None:
    channel = Listening()
    write(world.store, [*BEGUN, (SECOND, facts.TaskHeld(reason="is it there?"))], status="SUSPENDING")
    write(world.store, [*BEGUN, ("", facts.RunFailed(reason="revert_failed"))], run_id=OTHER_ID, status="FAILED")
    world.project()
    sender = world.sender(Rule("ops", channel, on=("needs-human",)))
    while sender.round():
        pass
    assert [(n["kind"], n["text"]) for n in channel.got] == [("needs-human", "is it there?"), ("needs-human", "")]


def test_what_is_not_delivered_is_tried_again_after_growing_pauses(world: World) -> None:
    channel = Listening(failing=3)
    write(world.store, FAILED, status="FAILED")
    world.project()
    sender = world.sender(Rule("ops", channel))
    for pause_s in (1, 5, 30):
        assert sender.round() == 0
        world.now_us += pause_s * 1_000_000 - 1
        assert sender.round() == 0
        world.now_us += 1
    assert sender.round() == 1
    assert len(channel.got) == 1


@pytest.mark.parametrize(("again", "attempts"), [(False, 1), (True, GIVE_UP)])
def test_what_cannot_be_delivered_is_given_up_and_the_next_is_told(world: World, again: bool, attempts: int) -> None:
    channel = Listening(failing=attempts, again=again)
    for run_id in (RUN_ID, OTHER_ID):
        write(world.store, FAILED, run_id=run_id, status="FAILED")
    world.project()
    sender = world.sender(Rule("ops", channel))
    for _ in range(attempts + 1):
        sender.round()
        world.now_us += 3600 * 1_000_000
    assert [notice["run"] for notice in channel.got] == [OTHER_ID]


def test_who_dies_between_sending_and_writing_it_down_sends_it_again_under_the_same_id(world: World) -> None:
    # Given
    class Dies(Listening):
        def send(self, notice: Any, *, now_s: int) -> None:
            super().send(notice, now_s=now_s)
            raise KeyboardInterrupt

    write(world.store, FAILED, status="FAILED")
    world.project()
    dead, living = Dies(), Listening()
    with pytest.raises(KeyboardInterrupt):
        world.sender(Rule("ops", dead)).round()
    # When another sender has waited until the first one's time is over
    other = world.sender(Rule("ops", living))
    assert other.round() == 0
    world.now_us += 61 * 1_000_000
    assert other.round() == 1
    # Then
    assert living.got == dead.got


def test_a_run_without_events_for_too_long_is_stuck_once_until_it_moves(world: World) -> None:
    # Given
    channel = Listening()
    write(world.store, BEGUN, status="RUNNING")
    world.project()
    sender = world.sender(Rule("ops", channel, stuck_after_s=60))
    assert sender.round() == 0
    # When / Then
    world.now_us += 61 * 1_000_000
    assert [sender.round(), sender.round()] == [1, 0]
    assert [(n["kind"], n["event"]) for n in channel.got] == [("stuck", 7)]


def test_runs_that_were_told_of_do_not_hide_those_behind_them(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given more stuck runs than one look goes through
    monkeypatch.setattr(sending, "_WINDOW", 2)
    channel = Listening()
    stuck = [f"01J000000000000000000000{n:02}" for n in range(5)]
    for run_id in stuck:
        write(world.store, BEGUN, run_id=run_id, status="RUNNING")
    world.project()
    world.now_us += 61 * 1_000_000
    sender = world.sender(Rule("ops", channel, stuck_after_s=60))
    # When
    while sender.round():
        pass
    # Then
    assert [notice["run"] for notice in channel.got] == stuck


def test_who_looks_in_vain_writes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a rule that has been served
    sender = world.sender(Rule("ops", Listening()))
    sender.round()
    writes: list[Any] = []
    turn = world.views.turn

    def counted(projection: Projection, slot: Slot) -> Any:
        writes.append(slot)
        return turn(projection, slot)

    monkeypatch.setattr(world.views, "turn", counted)
    # When / Then
    assert (sender.round(), writes) == (0, [])
    write(world.store, FAILED, status="FAILED")
    world.project()
    writes.clear()
    assert (sender.round(), len(writes)) == (1, 2)  # taken, then done


def test_a_channel_of_ones_own_that_raises_anything_is_tried_again(world: World) -> None:
    class Breaks(Listening):
        def send(self, notice: Any, *, now_s: int) -> None:
            if not world.now_us > SOON_US:
                raise ZeroDivisionError
            super().send(notice, now_s=now_s)

    channel, other = Breaks(), Listening()
    write(world.store, FAILED, status="FAILED")
    world.project()
    sender = world.sender(Rule("own", channel), Rule("other", other))
    assert sender.round() == 1
    world.now_us += 1_000_000
    assert sender.round() == 1
    assert len(channel.got) == len(other.got) == 1


def test_a_verification_that_found_something_is_told(world: World) -> None:
    channel, deaf = Listening(), Listening()
    sender = world.sender(Rule("ops", channel), Rule("deaf", deaf, on=("failed",)))
    sender.report(id="v1", run_id=RUN_ID, text="event 3 is not what was written")
    sender.report(id="v1", run_id=RUN_ID, text="event 3 is not what was written")
    while sender.round():
        pass
    assert [(n["kind"], n["id"], n["text"]) for n in channel.got] == [
        ("verify-failed", "v1", "event 3 is not what was written")
    ]
    assert deaf.got == []


@pytest.mark.parametrize(
    "wrong", [{"on": ("fialed",)}, {"on": "failed"}, {"query": "sate:x"}, {"stuck_after_s": 0}, {"stuck_after_s": -1}]
)
def test_a_rule_is_checked_where_it_is_written(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Rule("ops", Listening(), **wrong)
    with pytest.raises(DefinitionError):
        Rule("No Name", Listening())
