"""What a log says has been done, by path: what a fork can take over from its source (G6). Needs no plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from flowledger.events import facts
from flowledger.events.envelope import Envelope
from flowledger.events.errors import IntegrityError
from flowledger.events.facts import Depth, Raw

from .stored import Result


class Done(NamedTuple):
    """An atom that has succeeded with event ``version`` of its own run; ``stands``: it must be undone some day."""

    version: int
    result: Result
    stands: bool


@dataclass(slots=True, kw_only=True)
class Had:
    """What a run has at some version: results of atoms, nodes that were skipped, verdicts (the depth of a *no*, None
    for a *yes*), and the values of the present rounds of retries. ``adopted_by``: the fork that answers for it."""

    done: dict[str, Done] = field(default_factory=dict[str, Done])
    skipped: set[str] = field(default_factory=set[str])
    verdicts: dict[str, Depth | None] = field(default_factory=dict[str, Depth | None])
    rounds: dict[str, Raw] = field(default_factory=dict[str, Raw])
    adopted_by: str = ""

    def forget(self, path: str) -> None:
        """What is at this path is not done (any more)."""
        self.done.pop(path, None)
        self.skipped.discard(path)

    def reset(self, scope: str) -> None:
        """Nothing in a scope is done any more."""
        inside = f"{scope}/"
        for paths in (self.done, self.verdicts, self.rounds):
            for path in [path for path in paths if path.startswith(inside)]:
                del paths[path]
        self.skipped = {path for path in self.skipped if not path.startswith(inside)}
        self.rounds.pop(scope, None)


def had(envelopes: Iterable[Envelope], *, until: int | None = None, source: Had | None = None) -> Had:
    """What a run has after event ``until`` (None: as it stands). ``source``: what its own source had, of a fork."""
    found = Had()
    for envelope in envelopes:
        if until is not None and envelope.version > until:
            break
        _take(found, envelope, source)
    return found


def _take(found: Had, envelope: Envelope, source: Had | None) -> None:
    path = envelope.path
    match envelope.event:
        case facts.RunForked() as forked:
            _inherit(found, forked, source or Had(), envelope.version)
        case facts.TaskSucceeded() as event:
            found.done[path] = Done(envelope.version, Result(event.result, event.moved), event.attempt > 0)
        case facts.TaskSkipped():
            found.skipped.add(path)
        case facts.BranchDecided(error=None, no=no):
            found.verdicts[path] = no
        case facts.RoundStarted(value=value):
            found.rounds[path] = value
        case facts.ScopeReset() if path:
            found.reset(path)
        case facts.ScopeReset(forgotten=paths):
            for each in paths:
                found.forget(each)
        case facts.AtomEvent() if not isinstance(envelope.event, facts.OutcomeIgnored):
            found.forget(path)
        case facts.RequestAccepted(kind="fork", fork=fork) if fork:
            found.adopted_by = fork
        case _:
            pass


def _inherit(found: Had, forked: facts.RunForked, source: Had, version: int) -> None:
    missing = [path for path in forked.inherited if path not in source.done]
    if missing:
        raise IntegrityError(f"run {forked.source} has no result of {missing[0]}, which its fork has taken over")
    for path in forked.inherited:
        done = source.done[path]
        found.done[path] = Done(version, result_of(forked, path, source), done.stands and forked.adopted)
    found.skipped.update(forked.skipped)
    found.verdicts.update(dict.fromkeys(forked.decided))
    found.rounds.update((path, value_of(forked, path, source)) for path in forked.rounds)


def result_of(forked: facts.RunForked, path: str, source: Had) -> Result:
    """The result that a fork has taken over: its own, where it has one of its own key, or its source's."""
    if path in forked.rows:
        return Result(facts.NULL, forked.rows[path])
    own = forked.results.get(path)
    return source.done[path].result if own is None else Result(own)


def value_of(forked: facts.RunForked, path: str, source: Had) -> Raw:
    """The value of a retry that a fork has taken over."""
    own = forked.values.get(path)
    return source.rounds[path] if own is None else own
