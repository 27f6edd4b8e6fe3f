"""One interpreter's answer to: what do these logs mean? (`python -m tests.properties.digests`, logs as JSON on stdin.)

Prints one SHA-256 per log, over the state and the decisions at every prefix of it. Whatever depends on hash order, on
memory addresses or on the interpreter's mood would change it (R15).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from hashlib import sha256

import msgspec

from flowledger.adapters.sources import forked
from flowledger.core.evolve import apply
from flowledger.core.inheriting import Had, had
from flowledger.core.plan import Plan
from flowledger.core.replay import decisions
from flowledger.core.state import State
from flowledger.events.envelope import Envelope
from tests.crash import corpus
from tests.crash.compare import envelopes
from tests.crash.deeds import DEEDS, RELEASE
from tests.crash.job import Row


class Recorded(msgspec.Struct):
    """A log of a flow of the corpus, or of a deed; of a fork, that of its source, too."""

    flow: str
    run_id: str
    rows: list[Row]
    source: list[Row] = []


def plan_of(flow: str) -> Plan:
    """The plan the last release builds for it."""
    RELEASE["now"] = 2
    build = DEEDS[flow][1] if flow in DEEDS else getattr(corpus, flow)
    return corpus.app.plan(build(), executor="inline")


def taken(log: list[Envelope], source: list[Row]) -> Had | None:
    """What its source had, of a fork."""
    event = forked(log)
    return None if event is None else had(envelopes(event.source, source), until=event.version)


def digest(plan: Plan, log: list[Envelope], source: Sequence[Row] = ()) -> str:
    """State and decisions after each event, in one number."""
    total = sha256(plan.document)
    state = State(plan)
    state.taken = taken(log, list(source))
    for envelope in log:
        apply(state, envelope)
        total.update(state.dump())
        total.update(repr(decisions(plan, state)).encode())
    return total.hexdigest()


def main() -> None:
    logs = msgspec.json.decode(sys.stdin.buffer.read(), type=list[Recorded])
    for recorded in logs:
        print(digest(plan_of(recorded.flow), envelopes(recorded.run_id, recorded.rows), recorded.source))


if __name__ == "__main__":
    main()
