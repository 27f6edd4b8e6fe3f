"""RELIABILITY R18: seeded worlds in which everything goes wrong; 500 in every test run, `make simulate` for 100,000.

A failure names its seed; `python -m tests.simulation SEED` shows it again, step by step the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Collection, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from flowledger import Times
from flowledger.adapters import children, claiming, forking
from flowledger.adapters.adrift import Adrift
from flowledger.adapters.children import RunChildren
from flowledger.core import flowing
from flowledger.core.engine import run as engine
from flowledger.core.engine import starting
from flowledger.core.engine.active import ActiveRun
from flowledger.core.engine.answering import answer
from flowledger.core.engine.run import RunDriver
from flowledger.core.plan import Node
from flowledger.core.state import Resolved, State
from flowledger.events.store import Append, Appended, AppendResult
from tests.properties.spec import RAISE, Flow, Spec, Task
from tests.simulation.faults import Faults
from tests.simulation.judge import Witness
from tests.simulation.process import Process, Wire
from tests.simulation.world import SimulationFailed, World, simulate

ROOT = Path(__file__).parents[2]
SEEDS = 500
SHARES = 10


@pytest.mark.parametrize("share", range(SHARES))
def test_rel_r18_nothing_unsafe_happens_and_every_run_ends_once_the_faults_stop(share: int) -> None:
    for seed in range(share, SEEDS, SHARES):
        simulate(seed)


def test_rel_r18_the_worlds_are_as_bad_as_they_should_be() -> None:
    # Given what befell in fifty worlds
    befell: set[str] = set()
    for seed in range(50):
        world = World(seed)
        world.story = deque()  # all of it
        world.live()
        befell |= {line.split("s  ", 1)[1].split(" ", 1)[1] for line in world.story}
        for witness in world.store.witnesses:
            befell |= {e.type for e in witness.log}
            befell |= {f"a child {e.type}" for e in witness.log if witness.submitted.parent is not None}
            befell |= {f"a fork {e.type}" for e in witness.log if witness.log[1].type == "RunForked"}

    # Then every kind of trouble is among it
    for trouble in (
        "is killed before an append", "is killed after an append", "stands still for 25 s", "goes on", "is fenced",
        "TaskInterrupted", "RunSuspended", "RunResumed", "RetryDecided", "RevertFailed", "TaskWaiting",
        "RunSucceeded", "RunReverted", "RunFailed", "RunCancelled", "RequestRefused", "SignalReceived", "TaskHeld",
        "a child RunSuspended", "a child TaskInterrupted", "a child RunSucceeded", "a child RunReverted",
        "a child RunCancelled", "a fork TaskInterrupted", "a fork RunSucceeded", "a fork RunReverted",
    ):  # fmt: skip
        assert trouble in befell
    assert any(line.startswith("hears Fenced") for line in befell)
    assert any(line.startswith("hears StoreUnavailable: simulated outage") for line in befell)
    assert any(line.startswith("hears RunOwned") for line in befell)


def test_rel_r18_a_seed_gives_the_same_world_again_in_any_interpreter() -> None:
    here = [simulate(seed) for seed in (3, 7)]
    code = "from tests.simulation.world import simulate; print(simulate(3), simulate(7))"
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        found = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        assert found.stdout.split() == here


# -- it must be able to find something ------------------------------------------------------------------


def failure(specs: Sequence[Spec] | None = None, **faults: float) -> str:
    """What the first world that fails says, and that it can be seen again."""
    for seed in range(60):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine, "TURN_S", float("inf"))
            try:
                World(seed, faults=Faults(**faults) if faults else None, specs=specs).live()
            except SimulationFailed as error:
                message = str(error)
                break
    else:
        pytest.fail("sixty worlds, and nothing was found")
    assert f"see it again: python -m tests.simulation {seed}\n" in message
    return message


def test_rel_r18_a_body_that_runs_before_its_start_is_durable_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an appender that answers and writes nothing
    def append(self: Wire, request: Append, done: Callable[[AppendResult], None]) -> None:
        done(Appended(request.events[-1].version))

    monkeypatch.setattr(Wire, "append", append)

    assert "its run is not in the log (C1)" in failure([Spec(Flow("all", "linear", (Task("one"),)))])


def test_rel_r18_an_answer_that_is_not_true_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a log in which another event stands than the one that was acknowledged
    stored = Witness.stored

    def forgetful(self: Witness, request: Append) -> None:
        stored(self, request)
        if len(self.log) > 6:
            self.log[-1] = replace(self.log[-1], hash=b"another")

    monkeypatch.setattr(Witness, "stored", forgetful)

    assert "was acknowledged and is not in the log (A3)" in failure()


def test_rel_r18_a_run_that_nobody_takes_up_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Process, "resume", lambda *_: None)

    assert "no end a day after the faults have stopped" in failure(crash_at_append=0.05)


_THREE = Spec(Flow("all", "linear", (Task("one"), Task("two"), Task("three"))))


def test_rel_r18_a_process_that_keeps_what_it_gave_up_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Adrift, "add", lambda *_: None)
    monkeypatch.setattr(Process, "_look", Process.disturb_only)

    found = failure([_THREE], away=0.3, lost_request=0.5, slow_s=2.0)
    assert "no end a day after the faults have stopped" in found


_FAILS = Task("fails", script=(RAISE, RAISE))


def test_rel_r18_an_answer_of_a_retry_that_is_not_the_rules_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Times, "on_failure", lambda *_: "REVERT")

    assert "the model expects the answer RETRY" in failure([Spec(Flow("all", "linear", (_FAILS,), retry=2))])


def test_rel_r18_a_poison_that_comes_too_early_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "is_poison", lambda _task, lost: lost >= 2)

    assert "TaskFailed 'all/one': the model expects a failure: none" in failure(
        [Spec(Flow("all", "linear", (Task("one"),)))], crash_at_append=0.5
    )


def test_rel_r18_a_suspension_that_does_not_wait_for_bodies_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an engine that forgets its running bodies when it is asked to suspend
    def hasty(run: RunDriver, asked: Any) -> None:
        answer(run, asked)
        run.state.running.clear()
        run.live.clear()

    monkeypatch.setattr(engine, "answer", hasty)

    assert "the model expects a body that runs, or no request" in failure(suspend=0.9, slow_s=2.0)


def test_rel_r18_f4_a_signal_that_is_lost_with_the_wait_that_had_not_taken_it_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given scopes that fail while others wait for the same signal, and a fold that keeps what it was offered there
    def scope(n: int) -> Flow:
        fails = Task(f"fails{n}", script=(RAISE, RAISE))
        return Flow(f"scope{n}", "unordered", (_wait(f"one{n}"), _wait(f"two{n}"), fails), retry=3)

    unlisten = flowing.unlisten

    def forgetful(state: State, numbers: Collection[int]) -> None:
        for number in numbers:
            state.offered.pop(number, None)
        unlisten(state, numbers)

    monkeypatch.setattr(flowing, "unlisten", forgetful)
    spec = Spec(Flow("all", "unordered", (scope(1), _wait("three"), scope(2), _wait("four"))))

    assert "the model expects" in failure([spec], suspend=0.5, signal=0.8, mail=0.3, slow_s=30.0)


def _wait(name: str) -> Task:
    return Task(name, revert=None, signal="a")


def test_rel_r18_g3_a_word_on_what_is_held_that_is_not_kept_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    said = starting._as_said

    def as_failed(run: ActiveRun, node: Node, word: Resolved) -> None:
        said(run, node, word._replace(resolution="failed"))

    monkeypatch.setattr(starting, "_as_said", as_failed)

    assert "the model expects a failure: no failure" in failure(crash_at_append=0.1, resolve=0.3)


def test_rel_r18_c8_a_commit_that_nobody_looks_for_after_a_crash_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claiming, "settled", lambda *_: {})
    spec = Spec(Flow("all", "linear", (Task("books", transactional=True), Task("fails", script=(RAISE,)))))

    assert "(C8)" in failure([spec], crash_at_append=0.3, slow_s=2.0)


# -- of runs that have to do with each other ---------------------------------------------------------------

_STEP = Spec(Flow("below", "linear", (Task("step", takes=("input:x",)),)))


def test_rel_r18_g7_a_second_run_of_the_same_part_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given children that are not looked for before they are made
    async def never(*_: Any) -> None: ...

    numbers = count()
    monkeypatch.setattr(RunChildren, "_find", never)
    monkeypatch.setattr(children, "_key", lambda parent: f"{parent.run_id}/{parent.path}/{next(numbers)}")

    assert "has two runs in try 1 (G7)" in failure([Spec(Flow("all", "linear", (Task("run", child=_STEP),)))])


def test_rel_r18_g7_a_child_that_is_left_when_its_parent_is_undone_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def left(*_: Any) -> None: ...

    monkeypatch.setattr(RunChildren, "undo", left)
    spec = Spec(Flow("all", "linear", (Task("run", child=_STEP), Task("fails", script=(RAISE,)))))

    assert "the model expects its run to be undone first: ['SUCCEEDED']" in failure([spec])


def test_rel_r18_g6_a_fork_that_takes_over_what_has_another_input_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking, "changed_inputs", lambda *_: set())

    assert "these to be taken over: []" in failure([_STEP], fork=0.9)
