"""`Acting`: what may be done with a run of an app that is there already."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from contextlib import suppress
from time import monotonic, sleep
from typing import Any

import msgspec

from flowledger.core.compiler import inputs_of
from flowledger.core.engine.active import Observer
from flowledger.core.engine.run import RunDriver
from flowledger.core.preview import Preview, preview_cancel, preview_rerun, preview_revert
from flowledger.core.rerunning import check_over, check_rerun, check_revert
from flowledger.core.secret import unmarked
from flowledger.events.errors import RunOwned
from flowledger.events.requests import Resume
from flowledger.events.store import FINAL, Stream

from . import asking, driving, forking
from .boarded import is_served
from .driving import check_not_held
from .forking import Asked
from .loading import Loaded, submitted_inputs
from .requesting import Requesting
from .run import Run
from .runtime import Runtime

LOOK_AGAIN_S = 0.25


class Acting(Requesting):
    """What `Run` asks of its app: go on with a run, undo it, run it again, wait for it."""

    def resume_run(self, run_id: str, *, reason: str = "", observe: Observer | None = None) -> Run[Any]:
        """Go on with a run that is suspended, or whose process is gone. A final one is handed out as it is.

        One that is just being suspended by another process is told to go on there; a suspended job goes on in one of
        the conductors that take such runs, where there are any (B3). Returns when it has ended or is suspended.

        Raises:
            IllegalRequest: the run is held; `resolve` it.
            RunNotFound, RunOwned, PlanDiffers, Tampered: nothing has been written.
        """
        runtime = self.living_runtime()
        stream = self.stream_of(run_id)
        if stream.status == "SUSPENDED" and self.is_served(stream):
            self.ask(run_id, Resume(reason=reason), observe=observe)
            return Run(self, run_id, stream.key, self.wait_for(run_id, None))
        try:
            return self.driven(
                runtime,
                lambda started: driving.resume(runtime, self, stream, started=started, observe=observe, reason=reason),
            )
        except RunOwned:
            if stream.status != "SUSPENDING":
                raise
        self.ask(run_id, Resume(reason=reason), observe=observe)
        return Run(self, run_id, stream.key)

    def revert_run(self, run_id: str, *, reason: str, observe: Observer | None = None) -> Run[Any]:
        """Undo all that stands of a final run (G5); returns when that has ended.

        Raises:
            IllegalRequest: the run is not over, or nothing of it stands.
        """
        runtime = self.living_runtime()
        stream = self.stream_of(run_id)
        return self.driven(
            runtime,
            lambda started: driving.revert(runtime, self, stream, reason=reason, started=started, observe=observe),
        )

    def rerun_run(
        self, run_id: str, *, reason: str, from_: str | None = None, observe: Observer | None = None
    ) -> Run[Any]:
        """Run again what of a final run has not succeeded; ``from_``: from this part on (G5). Returns when that ended.

        Raises:
            IllegalRequest: the run is not final, or what it did stands in the way; nothing has been written.
            InputError: no reason, or no such part.
        """
        runtime = self.living_runtime()
        stream = self.stream_of(run_id)
        return self.driven(
            runtime,
            lambda started: driving.rerun(
                runtime, self, stream, reason=reason, from_=from_, started=started, observe=observe
            ),
        )

    def preview_rerun(self, run_id: str, *, from_: str | None = None) -> Preview:
        """What `rerun_run` would undo, run and keep. Writes nothing."""
        check_over(run_id, self.stream_of(run_id).status, "run again")
        loaded = self.load_run(run_id, goes_on=True)
        check_rerun(run_id, loaded.state, from_)
        return preview_rerun(loaded.state, from_)

    def fork_run(self, run_id: str, asked: Asked, *, observe: Observer | None = None) -> Run[Any]:
        """Begin a new run that takes over what this one has done (G6); returns when that has ended.

        Raises:
            InputError: no reason, no such part or version, or a new input that does not fit.
            IllegalRequest: the run cannot be forked there, or not be adopted; nothing has been written.
        """
        runtime = self.living_runtime()
        stream = self.stream_of(run_id)
        return self.driven(
            runtime, lambda started: forking.fork(runtime, self, stream, asked, started=started, observe=observe)
        )

    def inputs_of_run(self, run_id: str) -> dict[str, Any]:
        """The inputs a run was submitted with, as JSON values that its flow takes again: secrets in clear."""
        stream = self.stream_of(run_id)
        inputs = msgspec.json.decode(submitted_inputs(self.runtime, run_id), type=dict[str, msgspec.Raw])
        secret = {name for name, each in inputs_of(self, stream.factory).items() if each.typed.secretive}
        return {name: json.loads(unmarked(bytes(v)) if name in secret else bytes(v)) for name, v in inputs.items()}

    def preview_fork(self, run_id: str, asked: Asked) -> Preview:
        """What `fork_run` would take over, and what the fork would run. Writes nothing."""
        return forking.prepare(self.runtime, self, self.stream_of(run_id), asked).chosen.preview()

    def preview_revert(self, run_id: str) -> Preview:
        """What `revert_run` would undo, in order. Writes nothing."""
        check_over(run_id, self.stream_of(run_id).status, "be reverted")
        loaded = self.load_run(run_id, goes_on=True)
        check_revert(run_id, loaded.state)
        return preview_revert(loaded.state)

    def see_to(self, stream: Stream, asked: str, *, observe: Observer | None = None) -> Run[Any]:
        """See that a request is answered that was sent when the run stood at ``stream``; see `ask`. Returns the run."""
        self.stream_of(stream.run_id)  # is it one of this app?
        self.await_answer(stream, asked, observe)
        return Run(self, stream.run_id, stream.key)

    def preview_cancel(self, run_id: str, *, keep: bool = False) -> Preview:
        """What `Cancel` would undo and keep of a run, as it stands now. Writes nothing.

        Raises:
            NotLive: the run is final.
        """
        stream = self.stream_of(run_id)
        if stream.status in FINAL:
            raise asking.too_late(run_id, stream.status, "cancel")
        loaded = self.load_run(run_id, goes_on=True)
        check_not_held(run_id, loaded.state)
        return preview_cancel(loaded.state, keep=keep)

    def wait_for(self, run_id: str, timeout: float | None) -> Loaded:
        """A run's state once it has ended or is suspended; drives it if nobody does, or would.

        What a person has suspended stays so: only `resume` goes on with it (G2).
        """
        runtime = self.runtime
        until = monotonic() + (float("inf") if timeout is None else timeout)
        while (stream := self.stream_of(run_id)).status not in (*FINAL, "SUSPENDED"):
            if not self._is_others(stream):
                with suppress(RunOwned):
                    return self._driven_until(runtime, stream, until)
            if monotonic() >= until:
                raise TimeoutError(f"run {run_id} is {stream.status}, not ended after {timeout:g} s")
            sleep(LOOK_AGAIN_S)  # another process drives it: look until it has ended or died
        return self.load_run(run_id)

    def _driven_until(self, runtime: Runtime, stream: Stream, until: float) -> Loaded:
        future = runtime.call(driving.resume(runtime, self, stream, wakes=False))
        try:
            return future.result(None if until == float("inf") else max(0.0, until - monotonic()))
        except TimeoutError:
            if future.done():  # it is the run's, and not ours
                raise
            status = self.stream_of(stream.run_id).status
            raise TimeoutError(f"run {stream.run_id} is {status}, not ended yet; this process drives it on") from None

    def is_served(self, stream: Stream) -> bool:
        """Whether a live conductor takes such a run from the board."""
        return is_served(self.runtime, stream)

    def _is_others(self, stream: Stream) -> bool:
        """Whether it is not for us to take the run up: it is not due yet, or a conductor will (B3)."""
        return driving.is_early(self.runtime, stream) or self.is_served(stream)

    def driven(
        self, runtime: Runtime, work: Callable[[Callable[[RunDriver], None]], Coroutine[Any, Any, Loaded]]
    ) -> Run[Any]:
        """`drive`, and the handle of the run."""
        loaded = self.drive(runtime, work)
        return Run(self, loaded.run_id, loaded.key, loaded)
