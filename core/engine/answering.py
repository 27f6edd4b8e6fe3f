"""Requests and their answers (rules G1 to G4): each is answered once, in the log, and only the answer has an effect.

One room per kind of request: it drafts `RequestAccepted` with what follows from it at once, or says why not. A new kind
is a class in `events.requests`, a room here, and what it does in the fold (`core.evolve.requests`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from flowledger.core.plan import RUN
from flowledger.core.rerunning import check_rerun, check_revert
from flowledger.core.typed import Typed
from flowledger.events import facts, requests
from flowledger.events.errors import InputError, Refused
from flowledger.events.store import FINAL

from .active import ActiveRun


class Asked(NamedTuple):
    """A request as it came: by mail with this ``number``, or from this very process (None), which then knows itself
    what has become of it."""

    id: str
    kind: str
    content: bytes
    actor: str
    number: int | None = None


Room = Callable[[ActiveRun, Asked, Any], str | None]


def answer(run: ActiveRun, asked: Asked) -> None:
    """Answer a request, unless it has been answered: then it was sent twice."""
    if asked.id in run.state.answered:
        return
    try:
        request = requests.decode(asked.kind, asked.content)
    except InputError as error:
        _refuse(run, asked, "", error.message)
        return
    room = _ROOMS.get(asked.kind)
    why = f"this release has no answer to a request {asked.kind}" if room is None else room(run, asked, request)
    if why is not None:
        _refuse(run, asked, request.reason, why)


def _refuse(run: ActiveRun, asked: Asked, reason: str, why: str) -> None:
    if asked.number is not None:
        refused = facts.RequestRefused(request=asked.id, kind=asked.kind, why=why, reason=reason)
        run.draft(RUN, refused, actor=asked.actor)


def _accept(run: ActiveRun, asked: Asked, request: requests.Request, number: int = RUN, **fields: Any) -> None:
    accepted = facts.RequestAccepted(request=asked.id, kind=request.kind, reason=request.reason, **fields)
    run.draft(number, accepted, actor=asked.actor)


def _final(run: ActiveRun) -> str | None:
    status = run.state.status
    return f"the run is {status}" if status in FINAL else None


# -- the rooms ----------------------------------------------------------------------------------


def _suspend(run: ActiveRun, asked: Asked, request: requests.Suspend) -> str | None:
    if run.state.status != "RUNNING":
        return _final(run) or f"the run is {run.state.status} already"
    _accept(run, asked, request)
    return None


def _resume(run: ActiveRun, asked: Asked, request: requests.Resume) -> str | None:
    if run.state.status not in ("SUSPENDING", "SUSPENDED"):
        return f"the run is {run.state.status}"
    why = held(run)
    if why is None:
        _accept(run, asked, request)
        run.draft(RUN, facts.RunResumed(), actor=asked.actor)
    return why


def _cancel(run: ActiveRun, asked: Asked, request: requests.Cancel) -> str | None:
    state = run.state
    why = _final(run) or held(run) or ("the run is being cancelled already" if state.cancelled else None)
    if why is None and request.keep and (state.states[RUN] == "REVERTING" or state.direction == "BACK"):
        why = "what the run did is being undone already: nothing can be kept"
    if why is None:
        _accept(run, asked, request, keep=request.keep)
        if state.status != "RUNNING":
            run.draft(RUN, facts.RunResumed(), actor=asked.actor)
    return why


def _resolve(run: ActiveRun, asked: Asked, request: requests.Resolve) -> str | None:
    state, number = run.state, run.plan.by_path.get(request.path)
    if number is None or number not in state.held:
        paths = ", ".join(run.plan.nodes[n].path for n in sorted(state.held))
        return _final(run) or f"{request.path!r} is not held" + (f" (held: {paths})" if paths else "")
    content = bytes(request.result)
    if request.resolution == "succeeded":
        task = run.plan.nodes[number].task
        if task is not None and task.result.secretive:
            return f"the result of {request.path} is secret, and what is sent to a run cannot be"
        why = None if task is None else _misfit(run, task.result, content)
        if why is not None:
            return f"the result does not fit what {request.path} returns: {why}"
    _accept(run, asked, request, number, resolution=request.resolution, result=facts.Raw(content))
    if not state.held:
        run.draft(RUN, facts.RunResumed(), actor=asked.actor)
    return None


def _revert(run: ActiveRun, asked: Asked, request: requests.Revert) -> str | None:
    try:
        check_revert(run.run_id, run.state)
    except Refused as error:
        return error.message
    _accept(run, asked, request)
    return None


def _rerun(run: ActiveRun, asked: Asked, request: requests.Rerun) -> str | None:
    try:
        check_rerun(run.run_id, run.state, request.from_)
    except (Refused, InputError) as error:
        return error.message
    _accept(run, asked, request, from_=request.from_)
    return None


def _signal(run: ActiveRun, asked: Asked, request: requests.Signal) -> str | None:
    """It is taken in whether somebody waits for it or not (F4)."""
    wanted = _wanted(run, request.name)
    content = bytes(request.payload)
    misfit = None if wanted is None else _misfit(run, wanted, content)
    why = _final(run) or (misfit and f"it is not what the run waits for: {misfit}")
    if why is None:
        received = facts.SignalReceived(request=asked.id, name=request.name, payload=facts.Raw(content))
        run.draft(RUN, received, actor=asked.actor)
    return why


_ROOMS: Mapping[str, Room] = {
    "suspend": _suspend,
    "resume": _resume,
    "cancel": _cancel,
    "resolve": _resolve,
    "revert": _revert,
    "rerun": _rerun,
    "signal": _signal,
}


# -- what they ask ------------------------------------------------------------------------------


def held(run: ActiveRun) -> str | None:
    """Why a run may not go on that waits for a person's word (G3)."""
    if not run.state.held:
        return None
    path = run.plan.nodes[min(run.state.held)].path
    return f"it is held at {path}: resolve that first"


def _wanted(run: ActiveRun, name: str) -> Typed | None:
    """The type of what the plan waits for under this name."""
    tasks = (node.task for node in run.plan.nodes)
    return next((t.result for t in tasks if t is not None and t.signal is not None and t.signal.name == name), None)


def _misfit(run: ActiveRun, wanted: Typed, content: bytes) -> str | None:
    if len(content) > run.max_bytes:
        return f"it has {len(content):,} bytes, the limit is {run.max_bytes:,}"
    try:
        wanted.load(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where}: {first['msg']}" if where else str(first["msg"])
    return None
