"""Replaying recorded runs under today's code (rule D8): is each still a run of it? Nothing runs, nothing is written.

The flow's factory is called, and with expansions those of its parts; no task is.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass

from flowledger.core.changes import check_plan
from flowledger.core.definition import FactoryDefinition
from flowledger.core.plan import Plan
from flowledger.core.registry import Registry
from flowledger.core.replay import check, check_complete
from flowledger.core.source import NOWHERE, Place, defined_at, shown
from flowledger.events import facts
from flowledger.events.errors import (
    DefinitionError,
    FlowledgerError,
    InputError,
    IntegrityError,
    Nondeterminism,
    PayloadErased,
    PlanDiffers,
)
from flowledger.events.store import Stream

from .loading import Gathered, gather
from .runtime import Runtime

#: Runs per page.
PAGE = 200
#: What says that today's code is another than the one a run was recorded with.
DIFFERS = (Nondeterminism, PlanDiffers, DefinitionError, InputError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a replay came to. ``error`` None: the run is valid; ``erased``: its values are gone, nobody can say.

    ``version`` is the first event that would not be valid, ``path`` where it stands, ``expected`` what was due just
    before it, ``line`` where that part is defined in today's code.
    """

    run_id: str
    events: int = 0
    error: FlowledgerError | None = None
    erased: bool = False
    version: int = 0
    path: str = ""
    expected: tuple[str, ...] = ()
    line: str = ""

    @property
    def differs(self) -> bool:
        """Whether the log holds, and today's code does not fit it."""
        return isinstance(self.error, DIFFERS)


def replay_all(runtime: Runtime, registry: Registry, *, since_us: int = 0) -> Iterator[Replayed]:
    """Replay the runs of an app that were submitted at or after a time, the newest first."""
    before: str | None = None
    while page := runtime.store.streams(app=registry.name, before=before, limit=PAGE):
        for stream in page:
            if stream.created_us >= since_us:
                yield replay(runtime, registry, stream)
        if all(stream.created_us < since_us for stream in page):
            return
        before = page[-1].run_id


def replay(runtime: Runtime, registry: Registry, stream: Stream) -> Replayed:
    """Replay one run."""
    run_id = stream.run_id
    try:
        gathered = gather(runtime, registry, stream)
    except PayloadErased:
        return Replayed(run_id=run_id, erased=True)
    except (*DIFFERS, IntegrityError) as error:
        return Replayed(run_id=run_id, error=error, version=getattr(error, "version", 0))
    events = len(gathered.envelopes)
    try:
        _check(runtime, gathered)
    except Nondeterminism as error:
        return Replayed(
            run_id=run_id, events=events, error=error, version=error.version, path=error.path, expected=error.expected,
            line=_line(registry, gathered, error.path),
        )  # fmt: skip
    except (*DIFFERS, IntegrityError) as error:
        return Replayed(run_id=run_id, events=events, error=error, line=_line(registry, gathered, ""))
    return Replayed(run_id=run_id, events=events)


def _check(runtime: Runtime, gathered: Gathered) -> None:
    plan, envelopes, moved, vault = gathered.plan, gathered.envelopes, gathered.moved, gathered.vault
    taken = gathered.source.had
    check_plan(plan, envelopes, recorded=runtime.store.plan, moved=moved, taken=taken, goes_on=False, vault=vault)
    check_complete(plan, check(plan, envelopes, moved=moved, taken=taken, vault=vault))


def _line(registry: Registry, gathered: Gathered, path: str) -> str:
    """Where today's code defines the part at ``path``: its task, its retry, or else the flow."""
    place = _place(gathered.plan, path)
    if place == NOWHERE:
        submitted = gathered.envelopes[0].event
        factory = registry.flows.get(submitted.factory) if isinstance(submitted, facts.RunSubmitted) else None
        place = defined_at(factory.body) if isinstance(factory, FactoryDefinition) else NOWHERE
    return "" if place == NOWHERE else shown(place)


def _place(plan: Plan, path: str) -> Place:
    number = plan.by_path.get(path)
    if not path or number is None:
        return NOWHERE
    node = plan.nodes[number]
    if node.task is not None:
        return defined_at(inspect.unwrap(node.task.execute.body))
    return NOWHERE if node.retry is None else defined_at(type(node.retry))
