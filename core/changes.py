"""Code changes under a run (rule E8): may it go on under another plan than the one it has been running under?

It may if the part that has history is unchanged. That is asked twice. First of the two documents, path by path: every
node with an event, and everything around it, must be what it was. Then of the log: under the new plan, too, each event
must have been due just before it, so that nothing new stands before something that has already run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from flowledger.events import facts
from flowledger.events.envelope import Envelope
from flowledger.events.errors import Nondeterminism, PlanDiffers

from .document import Difference, differences, differing, read_document
from .inheriting import Had
from .plan import Plan
from .replay import check
from .vault import Vault

_HINT = "go on with the code the run was started with, or begin a new run under another key"
SHOWN = 20  # lines of a diff in a message

#: What must not change of a node that only stands around history (a flow without a retry has no events of its own).
_AROUND = frozenset({"-", "scope", "predecessors", "retry", "values", "conditions"})
#: What must not change of a node with events. What a flow returns concerns only what comes after it, and the fold of
#: the log sees to that; a pattern shows in the predecessors.
_OWN = _AROUND | {"task", "config", "expands"}

Recorded = Callable[[str], bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What differs between two plans of a run: lines that are ``in_the_way`` of going on, and lines that are not.

    ``in_the_way_of``: the paths of which the former speak.
    """

    in_the_way: tuple[str, ...] = ()
    free: tuple[str, ...] = ()
    in_the_way_of: tuple[str, ...] = ()


def plan_in_force(envelopes: Iterable[Envelope]) -> str | None:
    """The fingerprint of the plan a run has been running under last; None: it was never started."""
    fingerprint = None
    for envelope in envelopes:
        event = envelope.event
        if type(event) is facts.RunStarted or type(event) is facts.PlanChanged:  # cheaply: of a long run it is each one
            fingerprint = event.fingerprint
    return fingerprint


def compare(old: bytes, new: bytes, history: Iterable[str], *, returned: bool = False) -> Change:
    """Compare the documents of two plans. ``history``: the paths that have events; ``returned``: the run has given its
    result, so what the root returns has history, too."""
    own = set(history)
    around = {before for path in own for before in _prefixes(path)}
    found = differing(read_document(old), read_document(new))
    in_the_way = [d for d in found if _has_history(d, own, around, returned=returned)]
    free = [d for d in found if d not in in_the_way]
    return Change(
        in_the_way=tuple(d.text for d in in_the_way),
        free=tuple(d.text for d in free),
        in_the_way_of=tuple(d.path for d in in_the_way),
    )


def _prefixes(path: str) -> Iterable[str]:
    """The paths of the flows around a node."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _has_history(difference: Difference, own: set[str], around: set[str], *, returned: bool) -> bool:
    path, what = difference.path, difference.what
    if returned and what == "returns" and "/" not in path:
        return True
    return (path in own and what in _OWN) or (path in around and what in _AROUND)


def check_plan(
    plan: Plan, envelopes: Sequence[Envelope], *, recorded: Recorded, moved: dict[str, bytes], taken: Had | None = None,
    goes_on: bool = True, vault: Vault | None = None,
) -> bool:  # fmt: skip
    """Whether today's ``plan`` is another than the run's, and may take its place. ``goes_on`` False: it is only looked
    at, so it need only have all that has history.

    Raises:
        PlanDiffers: it may not; the message holds the differences.
    """
    fingerprint = plan_in_force(envelopes)
    if fingerprint is None or fingerprint == plan.fingerprint:
        return False
    document = recorded(fingerprint)
    if document is None:
        raise _differs(envelopes, Change(in_the_way=("the recorded plan is not in the store",)))
    history = history_of(envelopes)
    returned = any(isinstance(envelope.event, facts.RunSucceeded) for envelope in envelopes)
    change = compare(document, plan.document, history, returned=returned)
    if change.in_the_way:
        raise _differs(envelopes, change)
    if goes_on:
        try:
            check(plan, envelopes, moved=moved, taken=taken, vault=vault)
        except Nondeterminism as error:
            raise _differs(envelopes, change, f"under today's plan, {error.message}") from error
    return True


def expansion_differs(error: PlanDiffers, recorded: Recorded) -> PlanDiffers:
    """The error for an expansion of which today's code makes another flow, with what differs (E7)."""
    document = recorded(error.was) if error.document else None
    if document is None:
        return error
    lines = differences(read_document(document), read_document(error.document))
    return PlanDiffers("\n  ".join([error.message, *_cut(lines)]), hint=_HINT)


def history_of(envelopes: Iterable[Envelope]) -> set[str]:
    """The paths that have history: those of events, and what a fork has taken over from its source (G6)."""
    found: set[str] = set()
    for envelope in envelopes:
        found.add(envelope.path)
        if isinstance(envelope.event, facts.RunForked):
            event = envelope.event
            found.update(event.inherited, event.skipped, event.decided, event.rounds)
    return found - {""}


def _differs(envelopes: Sequence[Envelope], change: Change, *reasons: str) -> PlanDiffers:
    lines = [f"run {envelopes[0].run_id} cannot go on under the plan that today's code builds:"]
    lines += [*reasons, *_cut(change.in_the_way)]
    if change.free:
        lines += ["what has not started yet differs, too:" if change.in_the_way else "what differs:"]
        lines += _cut(change.free)
    return PlanDiffers("\n  ".join(lines), hint=_HINT)


def _cut(lines: Sequence[str]) -> list[str]:
    more = [f"… and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return [*lines[:SHOWN], *more]
