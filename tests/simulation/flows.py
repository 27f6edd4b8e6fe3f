"""Random flows from a seed: what `tests.properties.strategies` draws, without hypothesis."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.properties.spec import INPUTS, Attempt, Ends, Spec
from tests.properties.strategies import SIGNALS, Branch, Leaf, Namer, size

MOST_TASKS = 10
MOST_DEPTH = 3


def random_spec(chance: Random) -> Spec:
    """A flow of at most ten tasks, with failures, polls, retries, waits for signals, reverts that raise, bodies that
    leave it to a person, and parts that are runs of their own."""
    listens = chance.choice([0.0, 0.1, 0.4])  # how many parts wait for signals
    begets = chance.choice([0.0, 0.0, 0.1, 0.4])  # how many parts are runs
    while True:
        root = _branch(chance, MOST_DEPTH, listens, begets)
        if 1 <= size(root) <= MOST_TASKS:
            on_failure = "stop" if chance.random() < 0.15 else "revert"
            return Spec(Namer().flow(root, INPUTS), on_failure)  # type: ignore[arg-type]


def _branch(chance: Random, depth: int, listens: float, begets: float) -> Branch:
    children = tuple(_child(chance, depth, listens, begets) for _ in range(chance.choice([1, 2, 2, 3, 4])))
    return Branch(
        pattern=chance.choice(["linear", "linear", "unordered", "graph"]),
        children=children,
        retry=chance.choice([None, None, 1, 2, 3]),
        revert_all=chance.random() < 0.1,
        links=tuple((chance.randrange(4), chance.randrange(4)) for _ in range(chance.randrange(4))),
        backoff_s=chance.choice([0.0, 0.0, 0.5, 20.0]),
    )


def _child(chance: Random, depth: int, listens: float, begets: float) -> Any:
    if depth > 1 and chance.random() < 0.3:
        return _branch(chance, depth - 1, listens, begets)
    return _leaf(chance, listens, begets)


def _leaf(chance: Random, listens: float, begets: float) -> Leaf:
    if chance.random() < begets:
        return _child_run(chance, listens, begets)
    fails = chance.random() < 0.35
    script = tuple(_attempt(chance, fails) for _ in range(chance.randrange(1, 4)))
    reverts = tuple(chance.random() < 0.5 for _ in range(2)) if chance.random() < 0.1 else ()
    return Leaf(
        script=script,
        attempts=chance.choice([1, 1, 1, 2, 3]),
        undo=chance.choice(["yes", "yes", "yes", "none", "read_only"]),
        reverts=reverts,
        revert_attempts=chance.choice([1, 1, 2]),
        takes=tuple(chance.randrange(5) for _ in range(chance.randrange(3))),
        backoff_s=chance.choice([0.0, 0.0, 0.5, 20.0]),
        sleep_s=chance.choice([1.0, 100.0]) if chance.random() < 0.1 else None,
        signal=chance.choice(SIGNALS) if chance.random() < listens else "",
        timeout_s=chance.choice([None, 5.0, 40.0, 300.0]),
        on_interrupt=chance.choice(["rerun", "rerun", "rerun", "hold", "fail"]),
        transactional=chance.random() < 0.25,
    )


def _child_run(chance: Random, listens: float, begets: float) -> Leaf:
    """A part that is a run of its own, perhaps with further ones in it."""
    flow = _branch(chance, 1, listens, begets / 3)
    takes = tuple(chance.randrange(5) for _ in range(chance.randrange(3)))
    on_failure = "stop" if chance.random() < 0.15 else "revert"
    return Leaf((), 1, "yes", (), 1, takes, child=flow, on_failure=on_failure)  # type: ignore[arg-type]


def _attempt(chance: Random, fails: bool) -> Attempt:
    ends: Ends = chance.choice(["ok", "raise", "raise", "permanent", "hold"]) if fails else "ok"
    return Attempt(ends, chance.choice([0, 0, 0, 1, 2]))
