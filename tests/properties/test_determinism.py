"""R15 and D8: the same log means the same, in every interpreter, at every prefix; and `decide` offers what is legal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings

from flowledger.core.actions import Kind
from flowledger.core.decide import decide
from flowledger.core.evolve import apply, fold
from flowledger.core.plan import RUN, Plan
from flowledger.core.state import State
from flowledger.core.states import ATOM, RUN_SCOPE, SCOPE, Table
from flowledger.core.states import RUN as RUN_TABLE
from flowledger.events.envelope import Envelope
from tests.crash import corpus, seats
from tests.crash.job import Row
from tests.golden.record import HERE, History
from tests.properties.digests import Recorded, digest
from tests.properties.running import run
from tests.properties.spec import Spec
from tests.properties.strategies import specs

ROOT = Path(__file__).parents[2]
SEEDS = range(10)
HISTORIES = sorted(HERE.glob("*/*.json"))

#: Where the state of a node must have a way on, for an action to be offered: table and triggers of its consequences.
CONSEQUENCES: dict[Kind, tuple[Table, tuple[str, ...]]] = {
    "Start": (ATOM, ("TaskStarted", "TaskFailed")),
    "Revert": (ATOM, ("RevertStarted",)),
    "StartRound": (SCOPE, ("RoundStarted",)),
    "AskRetry": (SCOPE, ("RetryDecidedRetry", "RetryDecidedRevert", "RetryErred")),
    "RevertScope": (SCOPE, ("ScopeReverting",)),
    "ResetScope": (SCOPE, ("ScopeReset",)),
}


#: The flows that end without anybody asking something of them.
FLOWS = sorted(set(corpus.ENDS) - set(corpus.ASKED))


@cache
def recorded() -> list[Recorded]:
    """A log of each flow of the corpus that ends by itself."""
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as place:
        patch.setenv("FLOWLEDGER_DATABASE_URL", "memory://")
        try:
            return [_record(patch, Path(place), flow) for flow in FLOWS]
        finally:
            corpus.app.close()


def _record(patch: pytest.MonkeyPatch, place: Path, flow: str) -> Recorded:
    patch.setenv(corpus.TRACE, str(place / flow))
    done = corpus.app.run(getattr(corpus, flow)(), executor="inline", check=False)
    rows = corpus.app.runtime.store.read(done.id)
    return Recorded(flow, done.id, [Row.of(e) for e in rows])


def test_rel_r15_ten_hash_seeds_give_one_state_and_one_decision_at_every_prefix() -> None:
    # Given a log of each flow of the corpus
    logs = msgspec.json.encode(recorded())

    # When ten interpreters, each with its own hash seed, fold them
    answers = [_answer(logs, seed) for seed in SEEDS]

    # Then they agree
    assert len(answers[0]) == len(FLOWS)
    assert all(answer == answers[0] for answer in answers)


@pytest.fixture
def other_python() -> Path:
    """A second version of Python, with what the core needs."""
    python = ROOT / ".venv-other" / "bin" / "python"
    if not python.exists():
        pytest.skip("no second version of Python here: `make other-python` makes .venv-other, where there is one")
    code = "import sys; print(*sys.version_info[:2])"
    version = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert tuple(map(int, version)) != sys.version_info[:2]
    return python


def test_rel_r15_two_versions_of_python_give_one_state_and_one_decision_at_every_prefix(other_python: Path) -> None:
    # Given a log of each flow of the corpus, and those of the releases
    logs = msgspec.json.encode([*recorded(), *golden()])

    # When another version of Python folds them, under two hash seeds
    answers = [_answer(logs, seed, other_python) for seed in (0, 1)]

    # Then it comes to what this one says
    assert answers == [_answer(logs, 0)] * 2


def golden() -> list[Recorded]:
    """The logs of all releases, but of the flows that need SQLAlchemy, which the other Python does not have."""
    paths = [path for path in HISTORIES if path.stem not in seats.ENDS]
    histories = [msgspec.json.decode(path.read_bytes(), type=History) for path in paths]
    return [Recorded(history.flow, history.run_id, history.rows, history.source) for history in histories]


def _answer(logs: bytes, seed: int, python: Path | str = sys.executable) -> list[str]:
    done = subprocess.run(
        [python, "-m", "tests.properties.digests"],
        input=logs, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": str(seed)}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().split()


@settings(max_examples=80, deadline=None)
@given(specs(polls=True, late=True))
def test_d8_decide_never_offers_what_the_tables_forbid(spec: Spec) -> None:
    # Given a run of any flow
    ran = run(spec, "threads")

    # When its log is folded event by event
    state = State(ran.plan)
    for envelope in ran.log:
        apply(state, envelope)

        # Then each action offered has a legal consequence, and it is offered once, in plan order
        offered = decide(ran.plan, state)
        assert [action.node for action in offered] == state.plan.in_order({action.node for action in offered})
        assert list(forbidden(ran.plan, state)) == []


def forbidden(plan: Plan, state: State) -> Iterator[str]:
    """Actions that `decide` offers against the tables."""
    for action in decide(plan, state):
        kind, number = action.kind, action.node
        where = state.plan.nodes[number].path
        if kind == "End":
            if not {"RunSucceeded", "RunReverted", "RunFailed"} & set(RUN_TABLE[state.status]):
                yield f"End of a run that is {state.status}"
            continue
        if kind == "Expand":
            if state.plan.nodes[number].expansion is None or state.plan.nodes[number].expanded:
                yield f"Expand of {where}, which is none, or has been"
            continue
        table, triggers = CONSEQUENCES[kind]
        table = RUN_SCOPE if number == RUN else table
        ways = table[state.states[number]]
        again = kind == "Revert" and state.states[number] == "REVERTING"
        if not again and not all(trigger in ways for trigger in triggers):
            yield f"{kind} of {where}, which is {state.states[number]}"


@settings(max_examples=60, deadline=None)
@given(specs(late=True))
def test_d8_a_fold_in_one_go_and_one_event_by_event_agree(spec: Spec) -> None:
    # Given a log
    ran = run(spec, "inline")

    # Then folding it twice, or each prefix from the beginning, gives the same bytes
    assert digest(ran.plan, ran.log) == digest(ran.plan, ran.log)
    assert fold(ran.plan, ran.log).dump() == folded_by_steps(ran.plan, ran.log).dump()


def folded_by_steps(plan: Plan, log: list[Envelope]) -> State:
    state = State(plan)
    for envelope in log:
        decide(plan, state)  # asking changes nothing
        apply(state, envelope)
    return state


def test_the_corpus_ends_as_it_says() -> None:
    for log in recorded():
        assert log.rows[-1].type == f"Run{corpus.ENDS[log.flow].capitalize()}"
