"""Asking something of a run, whoever drives it (G1): durable mail, an answer in the log, and a driver if need be."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from time import monotonic, sleep
from typing import Any, TypeVar

from flowledger.core.context import is_inside_body
from flowledger.core.engine.active import Observer
from flowledger.core.engine.run import RunDriver
from flowledger.events import facts, requests
from flowledger.events.codec import opened
from flowledger.events.errors import IllegalRequest, InputError, NotLive, RunNotFound, RunOwned
from flowledger.events.requests import Request
from flowledger.events.store import FINAL, Mail, NotSent, Store, Stream

from . import driving
from .batch import suspend
from .ids import new_ulid
from .loading import Loaded
from .opened import Opened
from .runtime import Runtime, actor

R = TypeVar("R")

#: How long an answer is waited for while somebody drives the run, and the first and the longest pause between looks.
ANSWER_S = 30.0
LOOK_S = 0.01
LONGEST_LOOK_S = 0.25
#: How long a job is left to the conductors that serve it before whoever asks takes it up.
CONDUCTORS_S = 5.0

_HINTS = {
    "held": "`flowledger resolve RUN PATH --as rerun|failed|succeeded=JSON --reason …` says what became of it",
    "already": "there is nothing to do",
}


def send(store: Store, run_id: str, request: Request, *, request_id: str | None = None) -> str:
    """Put a request into the inbox of a run that is not final; returns its id. Whoever drives it next answers.

    Raises:
        NotLive: the run is final.
        RunNotFound
    """
    mail = Mail(run_id, request_id or new_ulid(), request.kind, requests.encode(request), actor(), live=True)
    sent = store.send((mail,))[0]
    if isinstance(sent, NotSent):
        if sent.status is None:
            raise RunNotFound(f"there is no run {run_id} in {store.describe()}")
        raise NotLive(
            f"run {run_id} is {sent.status}: a {request.kind} comes too late",
            hint=f"`flowledger show {run_id}` says how it ended",
        )
    return mail.id


class Requesting(Opened):
    """What an app asks of runs that may be under way."""

    def ask(self, run_id: str, request: Request, *, observe: Observer | None = None) -> None:
        """Ask something of a run and wait for the answer; a body does not wait: it could be waiting for itself.

        Where nobody drives the run, this process takes it up, and returns when it has ended or is suspended.

        Raises:
            NotLive: the run is final.
            IllegalRequest: the answer is no; it says why.
            TimeoutError: whoever drives the run has not answered within `ANSWER_S`; the request is in its inbox.
        """
        if request.kind not in ("signal", "resume"):
            check_reason(request)
        stream = self.stream_of(run_id)
        asked = send(self.runtime.store, run_id, request)
        if not is_inside_body():
            answer = self._answer(stream, asked, observe)
            if isinstance(answer, facts.RequestRefused):
                raise refusal(run_id, answer)

    def suspend_run(self, run_id: str, *, reason: str) -> None:
        """Suspend a run that this process drives, at once and without an inbox, as ^C does (G2, B5).

        Raises:
            IllegalRequest: this process does not drive it.
        """
        driver = self.runtime.drivers.get(run_id)
        if driver is None:
            raise IllegalRequest(
                f"run {run_id} is {self.stream_of(run_id).status} and not driven by this process",
                hint="ask whoever drives it: `Run.suspend`",
            )
        suspend(self.runtime, [driver], reason)

    def send_signal(self, run_id: str, name: str, payload: bytes, *, reason: str = "") -> None:
        """Put a signal into a run's inbox; ``payload`` is JSON (F4).

        Raises:
            NotLive: the run is final.
        """
        stream = self.stream_of(run_id)
        signal = requests.Signal(name=name, payload=facts.Raw(payload), reason=reason)
        send(self.runtime.store, stream.run_id, signal)

    def drive(
        self, runtime: Runtime, work: Callable[[Callable[[RunDriver], None]], Coroutine[Any, Any, Loaded]]
    ) -> Loaded:
        """Have the engine do it and wait; the first ^C suspends the run, the second is let through (B5)."""
        drivers: list[RunDriver] = []
        future = runtime.call(work(drivers.append))
        return interruptible(future, lambda: suspend(runtime, drivers, "^C"))

    def _answer(self, stream: Stream, asked: str, observe: Observer | None) -> facts.Event:
        """The answer, from the log; the run is taken up as soon as it turns out that nobody else will give it."""
        look = _Look(self.runtime.store, stream.run_id, stream.version, asked)
        began, pause_s = monotonic(), LOOK_S
        leave_until = began + (CONDUCTORS_S if self._is_conducted(stream) else 0.0)
        while (answer := look()) is None:
            if monotonic() >= leave_until and not self._is_driven(stream.run_id):
                try:
                    self._attend(stream.run_id, observe)
                except RunOwned:
                    leave_until = monotonic() + 1.0  # somebody else was quicker, or lives
            elif monotonic() > began + ANSWER_S:
                raise TimeoutError(
                    f"run {stream.run_id} has not answered within {ANSWER_S:g} s; the request is in its inbox"
                )
            sleep(pause_s)
            pause_s = min(1.5 * pause_s, LONGEST_LOOK_S)
        return answer

    def _attend(self, run_id: str, observe: Observer | None) -> None:
        runtime, stream = self.living_runtime(), self.stream_of(run_id)
        if stream.status not in FINAL:
            self.drive(runtime, lambda started: driving.attend(runtime, self, stream, started=started, observe=observe))

    def _is_driven(self, run_id: str) -> bool:
        """Whether this process drives the run, or is just taking it up."""
        return run_id in self.runtime.drivers or run_id in self.runtime.claiming

    def _is_conducted(self, stream: Stream) -> bool:
        """Whether a conductor that lives would take the run from the board."""
        return stream.queue is not None and any(
            not conductor.draining and stream.factory in conductor.factories and stream.queue in conductor.queues
            for conductor in self.runtime.store.board.conductors()
            if conductor.app == self.name
        )


def interruptible(future: Future[R], suspend: Callable[[], None]) -> R:
    """Wait for the engine; the first ^C suspends what it drives, the second is let through (B5)."""
    try:
        return future.result()
    except KeyboardInterrupt:
        suspend()
    with suppress(KeyboardInterrupt):
        return future.result()
    raise KeyboardInterrupt


def check_reason(request: Request) -> None:
    """A request that changes what a run does says why.

    Raises:
        InputError: it does not.
    """
    if not request.reason.strip():
        raise InputError(f"a {request.kind} needs a reason", field="reason", expected="text", given="")


def refusal(run_id: str, answer: facts.RequestRefused) -> IllegalRequest:
    """The error for an answer that is no."""
    hint = next((hint for word, hint in _HINTS.items() if word in answer.why), f"`flowledger show {run_id}` says more")
    return IllegalRequest(f"run {run_id}: {answer.kind} refused: {answer.why}", hint=hint)


class _Look:
    """Looks for the answer to a request in what has been appended since the last look."""

    def __init__(self, store: Store, run_id: str, version: int, asked: str) -> None:
        self._store = store
        self._run_id = run_id
        self._version = version
        self._asked = asked

    def __call__(self) -> facts.Event | None:
        rows = self._store.read(self._run_id, after_version=self._version)
        self._version += len(rows)
        events = (envelope.event for envelope in opened(self._run_id, rows))
        return next((event for event in events if getattr(event, "request", None) == self._asked), None)
