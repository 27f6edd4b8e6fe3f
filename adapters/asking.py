"""Requests as mail, and their answers in the log (rule G1). For this a store is enough: no app, no engine."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic, sleep

from flowledger.events import facts, requests
from flowledger.events.codec import opened
from flowledger.events.errors import IllegalRequest, NotLive, RunNotFound
from flowledger.events.requests import Request
from flowledger.events.store import Mail, NotSent, Store, Stream

from .ids import new_ulid
from .runtime import actor

#: The first and the longest pause between two looks for an answer.
LOOK_S = 0.01
LONGEST_LOOK_S = 0.25
#: How long an answer is waited for before somebody else tries to take the run up: a live engine needs a second.
OWNED_S = 3.0
#: The same of a job that nobody owns, but conductors serve.
CONDUCTED_S = 5.0

_HINTS = {
    "held": "`flowledger resolve RUN PATH --as rerun|failed|succeeded=JSON --reason …` says what became of it",
    "already": "there is nothing to do",
}


def send(store: Store, run_id: str, request: Request) -> str:
    """Put a request into the inbox of a run that is not final; returns its id. Whoever drives the run next answers.

    Raises:
        NotLive: the run is final.
        RunNotFound
    """
    mail = Mail(run_id, new_ulid(), request.kind, requests.encode(request), actor(), live=True)
    sent = store.send((mail,))[0]
    if isinstance(sent, NotSent):
        if sent.status is None:
            raise RunNotFound(f"there is no run {run_id} in {store.describe()}")
        raise too_late(run_id, sent.status, request.kind)
    return mail.id


def too_late(run_id: str, status: str, kind: str) -> NotLive:
    """What is said to a request for a run that is final."""
    return NotLive(
        f"run {run_id} is {status}: a {kind} comes too late", hint=f"`flowledger show {run_id}` says how it ended"
    )


class Look:
    """Looks for the answer to a request in what has been appended since the last look."""

    def __init__(self, store: Store, stream: Stream, asked: str) -> None:
        self._store = store
        self._run_id = stream.run_id
        self._version = stream.version
        self._asked = asked

    def __call__(self) -> facts.Event | None:
        rows = self._store.read(self._run_id, after_version=self._version)
        self._version += len(rows)
        events = (envelope.event for envelope in opened(self._run_id, rows))
        return next((event for event in events if getattr(event, "request", None) == self._asked), None)


def answer(store: Store, stream: Stream, asked: str, *, patience_s: float) -> facts.Event | None:
    """The answer to a request; None if there is none after so many seconds."""
    look, until, pause_s = Look(store, stream, asked), monotonic() + patience_s, LOOK_S
    while (found := look()) is None and monotonic() < until:
        sleep(pause_s)
        pause_s = min(1.5 * pause_s, LONGEST_LOOK_S)
    return found


def patience_s(store: Store, stream: Stream) -> float:
    """How long it is to somebody else to answer, before whoever asks takes the run up."""
    if stream.owner is not None:
        return OWNED_S
    return CONDUCTED_S if _is_conducted(store, stream) else 0.0


def _is_conducted(store: Store, stream: Stream) -> bool:
    """Whether a conductor that lives would take the run from the board."""
    return stream.queue is not None and any(
        not conductor.draining and stream.factory in conductor.factories and stream.queue in conductor.queues
        for conductor in store.board.conductors()
        if conductor.app == stream.app
    )


def held_at(run_id: str, paths: Sequence[str]) -> IllegalRequest:
    """What is said to whoever wants to go on with a run that is held (G3)."""
    return IllegalRequest(f"run {run_id} is held at {', '.join(paths)}", hint=word_wanted(run_id, paths[0]))


def word_wanted(run_id: str, path: str) -> str:
    """What to do about a run that is held at ``path`` (G3)."""
    return f"`flowledger resolve {run_id} {path} --as rerun|failed|succeeded=JSON --reason …` says what became of it"


def check(run_id: str, found: facts.Event) -> None:
    """Raise `IllegalRequest` if the answer is no."""
    if isinstance(found, facts.RequestRefused):
        raise refused(run_id, found.kind, found.why)


def refused(run_id: str, kind: str, why: str) -> IllegalRequest:
    """What is said to a request that the run cannot be asked as it stands."""
    hint = next((hint for word, hint in _HINTS.items() if word in why), f"see `flowledger show {run_id}`")
    return IllegalRequest(f"run {run_id}: {kind} refused: {why}", hint=hint)
