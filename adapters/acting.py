"""`Acting`: what may be done with a run of an app that is there already."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from time import monotonic, sleep
from typing import Any, TypeVar

from flowledger.core.engine.active import Observer
from flowledger.core.engine.run import RunDriver
from flowledger.core.preview import Preview, preview_rerun, preview_revert
from flowledger.core.rerunning import check_over, check_rerun, check_revert
from flowledger.events.errors import IllegalRequest, RunOwned
from flowledger.events.store import FINAL

from . import driving, forking
from .batch import suspend
from .checking import submitted_inputs
from .forking import Asked
from .loading import Loaded
from .opened import Opened
from .run import Run
from .runtime import Runtime

R = TypeVar("R")

LOOK_AGAIN_S = 0.25


class Acting(Opened):
    """What `Run` asks of its app: go on with a run, suspend it, undo it, wait for it."""

    def resume_run(self, run_id: str, *, observe: Observer | None = None) -> Run[Any]:
        """Go on with a run that is suspended, or whose process is gone. A final one is handed out as it is.

        Raises:
            RunNotFound, RunOwned, PlanDiffers, Tampered: nothing has been written.
        """
        runtime = self.living_runtime()
        stream = self.stream_of(run_id)
        return self.drive(
            runtime, lambda started: driving.resume(runtime, self, stream, started=started, observe=observe)
        )

    def revert_run(self, run_id: str, *, reason: str, observe: Observer | None = None) -> Run[Any]:
        """Undo all that stands of a final run (G5); returns when that has ended.

        Raises:
            IllegalRequest: the run is not over, or nothing of it stands.
        """
        runtime = self.living_runtime()
        stream = self.stream_of(run_id)
        return self.drive(
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
        return self.drive(
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
        return self.drive(
            runtime, lambda started: forking.fork(runtime, self, stream, asked, started=started, observe=observe)
        )

    def inputs_of_run(self, run_id: str) -> dict[str, Any]:
        """The inputs a run was submitted with, as JSON values."""
        inputs: dict[str, Any] = json.loads(submitted_inputs(self.runtime.store, self.stream_of(run_id).run_id))
        return inputs

    def preview_fork(self, run_id: str, asked: Asked) -> Preview:
        """What `fork_run` would take over, and what the fork would run. Writes nothing."""
        return forking.prepare(self.runtime, self, self.stream_of(run_id), asked).chosen.preview()

    def preview_revert(self, run_id: str) -> Preview:
        """What `revert_run` would undo, in order. Writes nothing."""
        check_over(run_id, self.stream_of(run_id).status, "be reverted")
        loaded = self.load_run(run_id, goes_on=True)
        check_revert(run_id, loaded.state)
        return preview_revert(loaded.state)

    def suspend_run(self, run_id: str, *, reason: str) -> None:
        """Ask a run that this process drives to suspend (G2).

        Raises:
            IllegalRequest: this process does not drive it.
        """
        driver = self.runtime.drivers.get(run_id)
        if driver is None:
            raise IllegalRequest(
                f"run {run_id} is {self.stream_of(run_id).status} and not driven by this process",
                hint="press ^C where it is driven",
            )
        suspend(self.runtime, [driver], reason)

    def wait_for(self, run_id: str, timeout: float | None) -> Loaded:
        """A run's state once it has ended; drives it if nobody does."""
        runtime = self.runtime
        until = monotonic() + (float("inf") if timeout is None else timeout)
        while (stream := self.stream_of(run_id)).status not in FINAL:
            with suppress(RunOwned):
                return runtime.call(driving.resume(runtime, self, stream)).result(timeout)
            if monotonic() >= until:
                raise TimeoutError(f"run {run_id} is {stream.status}, not ended after {timeout} s")
            sleep(LOOK_AGAIN_S)  # another process drives it: look until it has ended or died
        return self.load_run(run_id)

    def drive(
        self, runtime: Runtime, work: Callable[[Callable[[RunDriver], None]], Coroutine[Any, Any, Loaded]]
    ) -> Run[Any]:
        """Have the engine do it and wait; the first ^C suspends the run, the second is let through (B5)."""
        drivers: list[RunDriver] = []
        future = runtime.call(work(drivers.append))
        loaded = interruptible(future, lambda: suspend(runtime, drivers, "^C"))
        return Run(self, loaded.run_id, loaded.key, loaded)


def interruptible(future: Future[R], suspend: Callable[[], None]) -> R:
    """Wait for the engine; the first ^C suspends what it drives, the second is let through (B5)."""
    try:
        return future.result()
    except KeyboardInterrupt:
        suspend()
    with suppress(KeyboardInterrupt):
        return future.result()
    raise KeyboardInterrupt
