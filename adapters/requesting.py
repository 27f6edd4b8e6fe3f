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
from flowledger.events.errors import IllegalRequest, InputError, RunOwned
from flowledger.events.requests import Request
from flowledger.events.store import FINAL, Stream

from . import asking, driving
from .batch import suspend
from .loading import Loaded
from .opened import Opened
from .runtime import Runtime

R = TypeVar("R")

#: How long an answer is waited for while somebody drives the run.
ANSWER_S = 30.0


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
        asked = asking.send(self.runtime.store, run_id, request)
        if not is_inside_body():
            self.await_answer(stream, asked, observe)

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
        asking.send(self.runtime.store, stream.run_id, signal)

    def drive(
        self, runtime: Runtime, work: Callable[[Callable[[RunDriver], None]], Coroutine[Any, Any, Loaded]]
    ) -> Loaded:
        """Have the engine do it and wait; the first ^C suspends the run, the second is let through (B5)."""
        drivers: list[RunDriver] = []
        future = runtime.call(work(drivers.append))
        return interruptible(future, lambda: suspend(runtime, drivers, "^C"))

    def await_answer(self, stream: Stream, asked: str, observe: Observer | None = None) -> None:
        """Wait for the answer to a request that is in the run's inbox; see `ask`."""
        asking.check(stream.run_id, self._answer(stream, asked, observe))

    def _answer(self, stream: Stream, asked: str, observe: Observer | None) -> facts.Event:
        """The answer, from the log; the run is taken up as soon as it turns out that nobody else will give it."""
        look, until = asking.Look(self.runtime.store, stream, asked), monotonic() + ANSWER_S
        pause_s = asking.LOOK_S
        leave_until = monotonic() + asking.patience_s(self.runtime.store, stream)
        while (answer := look()) is None:
            if monotonic() >= leave_until and not self._is_driven(stream.run_id):
                try:
                    self._attend(stream.run_id, observe)
                except RunOwned:
                    leave_until = monotonic() + 1.0  # somebody else was quicker, or lives
            if monotonic() > until:
                raise TimeoutError(f"run {stream.run_id} does not answer; the request is in its inbox")
            sleep(pause_s)
            pause_s = min(1.5 * pause_s, asking.LONGEST_LOOK_S)
        return answer

    def _attend(self, run_id: str, observe: Observer | None) -> None:
        runtime, stream = self.living_runtime(), self.stream_of(run_id)
        if stream.status not in FINAL:
            self.drive(runtime, lambda started: driving.attend(runtime, self, stream, started=started, observe=observe))

    def _is_driven(self, run_id: str) -> bool:
        """Whether this process drives the run, or is just taking it up."""
        return run_id in self.runtime.drivers or run_id in self.runtime.claiming


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
