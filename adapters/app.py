"""`App`: a registry of tasks, flows and resources, and the way to run them."""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from itertools import zip_longest
from threading import Lock
from time import monotonic, sleep
from typing import Any, TypeVar

from flowledger.core.compiler import compile as compile_part
from flowledger.core.compiler import entry
from flowledger.core.context import refuse_inside_body
from flowledger.core.engine.active import Observer
from flowledger.core.engine.run import RunDriver
from flowledger.core.parts import Part
from flowledger.core.plan import Plan
from flowledger.core.preview import Preview, preview_rerun, preview_revert
from flowledger.core.rerunning import check_duty, check_rerun
from flowledger.events.errors import IllegalRequest, InputError, NotSupported, RunNotFound, RunOwned
from flowledger.events.facts import OnFailure
from flowledger.events.store import FINAL, Stream
from flowledger.projections.history import HISTORY
from flowledger.projections.projection import Projection

from . import driving, loading
from .batch import Batch, suspend
from .driving import InlineOrThreads, Wish
from .listened import Listened
from .loading import Loaded
from .run import Run
from .runtime import Runtime
from .settings import Settings, resolve

T = TypeVar("T")
R = TypeVar("R")

KEY_CHARS = 200
AT_ONCE = 500  # runs of one `run_many` side by side: enough to share commits, few enough to keep in memory
LOOK_AGAIN_S = 0.25


class App(Listened):
    """Tasks, flows and resources under one name, and the store their runs are kept in.

    Making one touches nothing: no file, no connection. The first run opens the store and starts the engine's thread.
    ``database_url`` (or ``settings``) says where the log is: ``memory://``, ``sqlite:///flowledger.db`` (the default).
    """

    def __init__(self, name: str, *, settings: Settings | None = None, database_url: str | None = None) -> None:
        super().__init__(name)
        self._settings = settings
        self._database_url = database_url
        self._options: Mapping[str, Any] = {}
        self._runtime: Runtime | None = None
        self._projections: list[Projection] = []
        self._lock = Lock()

    # -- running --------------------------------------------------------------------------------

    def run(
        self,
        part: Part[T],
        *,
        key: str | None = None,
        tags: Mapping[str, str] | None = None,
        on_failure: OnFailure | None = None,
        executor: InlineOrThreads | None = None,
        check: bool = True,
    ) -> Run[T]:
        """Run a flow or a bound task here and now, until it has ended or ^C suspends it.

        The same ``key`` again: an unfinished run goes on where it was (kill -9 and run again), a finished one gives its
        result, other inputs are refused. ``check`` raises unless the run SUCCEEDED.

        Raises:
            DefinitionError, InputError: nothing has been written.
            KeyConflict: the key belongs to other inputs.
            RunOwned: another live process drives the run.
            RunUnsuccessful: it did not succeed.
        """
        run = self.execute(part, key=key, tags=tags, on_failure=on_failure, executor=executor)
        if check:
            run.check()
        return run

    async def arun(
        self,
        part: Part[T],
        *,
        key: str | None = None,
        tags: Mapping[str, str] | None = None,
        on_failure: OnFailure | None = None,
        executor: InlineOrThreads | None = None,
        check: bool = True,
    ) -> Run[T]:
        """`run` for a caller that must not block. Cancelling it suspends the run."""
        wish = self._wish(part, key=key, tags=tags, on_failure=on_failure, executor=executor)
        runtime = await asyncio.to_thread(self._for_new_runs)
        drivers: list[RunDriver] = []
        future = runtime.call(driving.run(runtime, self, wish, drivers.append, None))
        try:
            loaded = await asyncio.shield(asyncio.wrap_future(future))
        except asyncio.CancelledError:
            suspend(runtime, drivers, "the caller was cancelled")
            raise
        run: Run[T] = Run(self, loaded.run_id, loaded.key, loaded)
        if check:
            run.check()
        return run

    def run_many(
        self,
        parts: Iterable[Part[T]],
        *,
        keys: Iterable[str | None] = (),
        tags: Mapping[str, str] | None = None,
        at_once: int = AT_ONCE,
        executor: InlineOrThreads | None = None,
    ) -> list[Run[T]]:
        """Run many flows in this process, up to ``at_once`` side by side; all their events share commits.

        ``keys`` go with the parts, one each. Returns the runs in the order of the parts, however each ended: look at
        `Run.state`, or let `Run.result` raise. ^C suspends those that are under way and starts no more.

        Raises:
            DefinitionError, InputError: one of the parts is wrong; nothing has been written.
        """
        wishes = [
            self._wish(part, key=key, tags=tags, on_failure=None, executor=executor)
            for part, key in zip_longest(parts, keys)
        ]
        runtime = self._for_new_runs()
        batch = Batch(runtime, self, at_once)
        every = _interruptible(runtime.call(batch.run(wishes)), batch.suspend)
        return [Run(self, loaded.run_id, loaded.key, loaded) for loaded in every]

    def execute(
        self,
        part: Part[T],
        *,
        key: str | None = None,
        tags: Mapping[str, str] | None = None,
        on_failure: OnFailure | None = None,
        executor: InlineOrThreads | None = None,
        observe: Observer | None = None,
    ) -> Run[T]:
        """`run` without the check; ``observe`` is told of all its events, once durable, on the engine's thread."""
        wish = self._wish(part, key=key, tags=tags, on_failure=on_failure, executor=executor)
        runtime = self._for_new_runs()
        return self._drive(runtime, lambda started: driving.run(runtime, self, wish, started, observe))

    def resume_run(self, run_id: str, *, observe: Observer | None = None) -> Run[Any]:
        """Go on with a run that is suspended, or whose process is gone. A final one is handed out as it is.

        Raises:
            RunNotFound, RunOwned, PlanDiffers, Tampered: nothing has been written.
        """
        runtime = self._for_new_runs()
        stream = self.stream_of(run_id)
        return self._drive(
            runtime, lambda started: driving.resume(runtime, self, stream, started=started, observe=observe)
        )

    def revert_run(self, run_id: str, *, reason: str, observe: Observer | None = None) -> Run[Any]:
        """Undo all that stands of a final run (G5); returns when that has ended.

        Raises:
            IllegalRequest: the run is not SUCCEEDED or FAILED.
        """
        runtime = self._for_new_runs()
        stream = self.stream_of(run_id)
        return self._drive(
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
        runtime = self._for_new_runs()
        stream = self.stream_of(run_id)
        return self._drive(
            runtime,
            lambda started: driving.rerun(
                runtime, self, stream, reason=reason, from_=from_, started=started, observe=observe
            ),
        )

    def preview_rerun(self, run_id: str, *, from_: str | None = None) -> Preview:
        """What `rerun_run` would undo, run and keep. Writes nothing."""
        driving.check_rerunnable(self.stream_of(run_id))
        loaded = self.load_run(run_id, goes_on=True)
        check_rerun(run_id, loaded.state, from_)
        return preview_rerun(loaded.plan, loaded.envelopes, from_)

    def preview_revert(self, run_id: str) -> Preview:
        """What `revert_run` would undo, in order. Writes nothing."""
        stream = self.stream_of(run_id)
        driving.check_revertable(stream)
        loaded = self.load_run(run_id, goes_on=True)
        check_duty(run_id, loaded.state, "revert")
        return preview_revert(loaded.plan, loaded.envelopes)

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

    # -- looking --------------------------------------------------------------------------------

    def plan(self, part: Part[Any], *, executor: InlineOrThreads | None = None) -> Plan:
        """Compile a flow: everything is bound, typed and checked, nothing is written."""
        return compile_part(part, self, executor=executor)

    def get(self, run_id: str) -> Run[Any]:
        """The handle of a run.

        Raises:
            RunNotFound
        """
        stream = self.stream_of(run_id)
        return Run(self, stream.run_id, stream.key)

    def runs(self, *, limit: int = 50) -> Iterator[Run[Any]]:
        """This app's runs, newest first."""
        for stream in self.runtime.store.streams(app=self.name, limit=limit):
            yield Run(self, stream.run_id, stream.key)

    def stream_of(self, run_id: str) -> Stream:
        """The stream row of a run of this app."""
        stream = self.runtime.store.stream(run_id)
        if stream is None or stream.app != self.name:
            where = self.runtime.store.describe()
            raise RunNotFound(f"app {self.name} has no run {run_id} in {where}", hint="`flowledger ls` lists the runs")
        return stream

    def load_run(self, run_id: str, *, goes_on: bool = False) -> Loaded:
        """A run as its log says, verified and folded under today's plan; ``goes_on``: one under which it could go on.

        Raises:
            PlanDiffers: it is another plan than the run has history for (E8).
        """
        return loading.load(self.runtime, self, self.stream_of(run_id), goes_on=goes_on)

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

    @property
    def projections(self) -> list[Projection]:
        """The built-in projection and this app's own."""
        return [HISTORY, *self._projections]

    # -- the parts behind it --------------------------------------------------------------------

    @property
    def runtime(self) -> Runtime:
        """The store and the engine, opened when first asked for."""
        with self._lock:
            if self._runtime is None:
                self._runtime = Runtime(
                    self.settings, app=self.name, resources=self.resources, needs=self.resource_needs,
                    listeners=self.listeners,
                    projections=self._embedded(),
                )  # fmt: skip
                atexit.register(self.close)
            return self._runtime

    @property
    def settings(self) -> Settings:
        """The settings that hold: options, arguments, environment, defaults."""
        return resolve(self._settings, self._database_url, options=self._options)

    def use(self, **options: Any) -> None:
        """Override settings (the command line's options); before the first run.

        Raises:
            IllegalRequest: the app is already open.
        """
        if self._runtime is not None:
            raise IllegalRequest(f"app {self.name} is open; settings must be given before the first run")
        self._options = {**self._options, **{name: value for name, value in options.items() if value is not None}}

    @contextmanager
    def using(self, **options: Any) -> Generator[None]:
        """Within the block the app has other settings, and is open anew: another log. For tests."""
        self.close()
        before = self._options
        self.use(**options)
        try:
            yield
        finally:
            self.close()
            self._options = before

    def close(self) -> None:
        """Close resources, store and engine. A run still driven is left for whoever runs it next."""
        with self._lock:
            runtime, self._runtime = self._runtime, None
        if runtime is not None:
            atexit.unregister(self.close)
            runtime.close()
            self.listeners.drain()

    # -- inside ---------------------------------------------------------------------------------

    def _for_new_runs(self) -> Runtime:
        """The runtime; one that has been fenced may own nothing any more (B2), so another takes its place."""
        with self._lock:
            fenced = self._runtime
            if fenced is not None and fenced.heartbeat.fenced:
                self._runtime = None
                fenced.close()
        return self.runtime

    def _embedded(self) -> list[Projection]:
        """What a process that drives runs projects by itself."""
        return self.projections if self.settings.views == "auto" else []

    def _wish(
        self, part: Part[Any], *, key: str | None, tags: Mapping[str, str] | None, on_failure: OnFailure | None,
        executor: InlineOrThreads | None,
    ) -> Wish:  # fmt: skip
        refuse_inside_body("run()")
        _check_key(key)
        if executor not in (None, "inline", "threads"):
            raise NotSupported(
                f"executor={executor!r} is not part of this version", hint='use "threads" (the default) or "inline"'
            )
        plan = compile_part(part, self, executor=executor)
        root = entry(part, self)
        return Wish(
            part=part, plan=plan, factory=root.factory, inputs=root.inputs_json(), key=key, tags=dict(tags or {}),
            on_failure=on_failure or plan.on_failure, executor=executor,
        )  # fmt: skip

    def _drive(
        self, runtime: Runtime, work: Callable[[Callable[[RunDriver], None]], Coroutine[Any, Any, Loaded]]
    ) -> Run[Any]:
        """Have the engine do it and wait; the first ^C suspends the run, the second is let through (B5)."""
        drivers: list[RunDriver] = []
        future = runtime.call(work(drivers.append))
        loaded = _interruptible(future, lambda: suspend(runtime, drivers, "^C"))
        return Run(self, loaded.run_id, loaded.key, loaded)


def _interruptible(future: Future[R], suspend: Callable[[], None]) -> R:
    try:
        return future.result()
    except KeyboardInterrupt:
        suspend()
    with suppress(KeyboardInterrupt):
        return future.result()
    raise KeyboardInterrupt


def _check_key(key: str | None) -> None:
    if key is not None and not 1 <= len(key) <= KEY_CHARS:
        raise InputError(
            f"key= must have 1 to {KEY_CHARS} characters",
            field="key",
            expected=f"1–{KEY_CHARS} characters",
            given=repr(key),
        )
