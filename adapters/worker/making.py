"""Calling the bodies of tasks that engines elsewhere have asked for: on an event loop of its own (rules B4, B6, C7)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from threading import Thread
from time import monotonic

from flowledger.adapters.executors.elsewhere import Elsewhere, arguments_of, attempt_of, not_begun, resources_of
from flowledger.adapters.executors.native import AsyncExecutor
from flowledger.adapters.executors.processes import ProcessExecutor
from flowledger.adapters.executors.threads import ThreadExecutor
from flowledger.core.engine.attempt import Attempt, Executor, Outcome
from flowledger.core.engine.resources import ResourcePool
from flowledger.core.engine.settling import GRACE_S
from flowledger.core.portable import Request
from flowledger.core.ports import Clock
from flowledger.core.registry import Registry
from flowledger.core.signature import Signature
from flowledger.core.task import TaskClass
from flowledger.events.claims import AttemptKey, Sign

#: How long `close` waits for resources to be closed.
CLOSE_S = 5.0

_LOG = logging.getLogger("flowledger.worker")


class Job:
    """One attempt in the making. ``secret``: its outcome must be encrypted."""

    def __init__(self, request: Request, *, secret: bool) -> None:
        self.request = request
        self.secret = secret
        self.key = AttemptKey(request.run, request.path, request.try_, request.attempt, request.phase)
        self.cancelled = False
        self.reported = False
        self.began_s = monotonic()
        self.said: tuple[float, str] | None = None
        self.attempt: Attempt | None = None
        self.signature: Signature | None = None
        self.executor: Executor | None = None
        self.limit: asyncio.TimerHandle | None = None

    def is_cancelled(self) -> bool:
        """Whether nobody wants it any more."""
        return self.cancelled

    def progressed(self, fraction: float, message: str) -> None:
        """The body says how far it has got, on its own thread."""
        self.said = (fraction, message)

    @property
    def sign(self) -> Sign:
        """That it is being made."""
        fraction, message = self.said or (None, "")
        return Sign(self.key, fraction, message)


class Making:
    """Makes attempts. ``done`` is told of each outcome, once; ``ended`` when its body is over, which may be later.

    Args:
        registry: the tasks.
        clock: store time, for deadlines.
        threads: bodies at once in threads, and coroutines.
        processes: where above 0, sync bodies run in so many child processes instead (B6).
        app: names the app for them.
        done: told of outcomes, on the loop.
        ended: told that a body is over and how long it took, on the loop.
    """

    def __init__(
        self,
        registry: Registry,
        clock: Clock,
        *,
        threads: int,
        processes: int,
        app: Callable[[], str],
        done: Callable[[Job, Outcome], None],
        ended: Callable[[Job, float], None],
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._processes = processes
        self._done = done
        self._ended = ended
        self._jobs: dict[AttemptKey, Job] = {}
        self._pool = ResourcePool(registry.resources, registry.resource_needs)
        self.loop = asyncio.new_event_loop()
        self._executors: Mapping[str, Executor] = {
            "threads": ThreadExecutor(self.loop, capacity=threads),
            "async": AsyncExecutor(self.loop, capacity=threads),
            "processes": ProcessExecutor(self.loop, capacity=processes or threads, app=app),
        }
        self._thread = Thread(target=self._run, name="flowledger-making", daemon=True)
        self._thread.start()

    # -- from any thread ------------------------------------------------------------------------

    def begin(self, jobs: Sequence[Job]) -> None:
        """Make these, which have been claimed."""
        self.loop.call_soon_threadsafe(self._begin, jobs)

    def cancel(self, keys: Sequence[AttemptKey]) -> None:
        """Nobody wants these any more: their bodies see it, coroutines are cancelled."""
        self.loop.call_soon_threadsafe(self._cancel, keys)

    def signs(self) -> list[Sign]:
        """What is being made."""
        return [job.sign for job in list(self._jobs.values())]

    def has(self, key: AttemptKey, call: int) -> bool:
        """Whether this call is being made, or has not been reported yet."""
        job = self._jobs.get(key)
        return job is not None and job.request.call == call

    def forget(self, calls: Sequence[tuple[AttemptKey, int]]) -> None:
        """These have been reported: nobody needs to hear that they live."""
        for key, call in calls:
            if self.has(key, call):
                self._jobs.pop(key, None)

    def turns(self, told: Callable[[], None]) -> None:
        """Have ``told`` called on the loop, which shows that it turns."""
        self.loop.call_soon_threadsafe(told)

    def close(self) -> None:
        """Close resources and end the loop; what still runs is left to die with the process."""
        closing = asyncio.run_coroutine_threadsafe(self._close(), self.loop)
        try:
            closing.result(CLOSE_S)
        except TimeoutError:
            _LOG.warning("resources were not closed within %g s", CLOSE_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(CLOSE_S)

    # -- on the loop ----------------------------------------------------------------------------

    def _begin(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._jobs[job.key] = job
            host = Elsewhere(job.request, job.is_cancelled, job.progressed)
            try:
                job.attempt, job.signature = attempt_of(self._registry, job.request, host)
                needed = self._needed(job, job.signature)
            except Exception as error:  # noqa: BLE001 - a task class's own constructor (C9)
                self._settle(job, not_begun(job.request, error))
                continue
            if self._pool.has(list(needed.values()), job.request.run):
                self._start(job, needed)
            else:
                self.loop.create_task(self._start_with(job, needed))

    def _needed(self, job: Job, signature: Signature) -> Mapping[str, str]:
        """Argument → resource; a child makes its own."""
        return {} if self._is_for_a_child(job) else resources_of(self._registry, job.request, signature)

    async def _start_with(self, job: Job, needed: Mapping[str, str]) -> None:
        try:
            await self._pool.acquire(list(needed.values()), job.request.run)
        except Exception as error:  # noqa: BLE001 - makers are the user's code (C9)
            self._settle(job, not_begun(job.request, error))
            return
        self._start(job, needed)

    def _start(self, job: Job, needed: Mapping[str, str]) -> None:
        attempt, request, signature = job.attempt, job.request, job.signature
        assert attempt is not None
        assert signature is not None
        if self._is_for_a_child(job):
            attempt.packed = {name: bytes(content) for name, content in request.arguments.items()}
            job.executor = self._executors["processes"]
        else:
            try:
                live = {argument: self._pool.get(name, request.run) for argument, name in needed.items()}
                attempt.arguments = arguments_of(attempt, request, signature, live)
            except Exception as error:  # noqa: BLE001 - any type's validator (C9)
                self._settle(job, not_begun(request, error))
                return
            job.executor = self._executors["async" if attempt.call.is_async else "threads"]
        self._set_limit(job, attempt)
        job.executor.submit(attempt, lambda outcome: self._settle(job, outcome))

    def _is_for_a_child(self, job: Job) -> bool:
        attempt = job.attempt
        if attempt is None or attempt.call.is_async:
            return False
        found = self._registry.tasks[job.request.task]
        options = found.options
        return bool(self._processes) or options.executor == "processes"

    def _settle(self, job: Job, outcome: Outcome) -> None:
        """The body is over, or could not begin."""
        if job.limit is not None:
            job.limit.cancel()
        self._tell(job, outcome)
        self._ended(job, monotonic() - job.began_s)

    def _tell(self, job: Job, outcome: Outcome) -> None:
        if not job.reported:
            job.reported = True
            self._done(job, outcome)

    def _cancel(self, keys: Sequence[AttemptKey]) -> None:
        for key in keys:
            job = self._jobs.get(key)
            if job is None or job.cancelled:
                continue
            job.cancelled = True
            if job.attempt is not None and job.attempt.call.is_async and job.executor is not None:
                job.executor.cancel(job.attempt)

    # -- limits on time (rule C7) ---------------------------------------------------------------

    def _set_limit(self, job: Job, attempt: Attempt) -> None:
        limits = [] if attempt.timeout_s is None else [attempt.timeout_s]
        if attempt.deadline_us is not None:
            limits.append(max(0.0, (attempt.deadline_us - self._clock.now_us()) / 1e6))
        if limits:
            job.limit = self.loop.call_later(min(limits), self._time_out, job, attempt)

    def _time_out(self, job: Job, attempt: Attempt) -> None:
        attempt.timed_out = True
        if job.executor is not None:
            job.executor.cancel(attempt)
        job.limit = self.loop.call_later(GRACE_S, self._give_up, job, attempt)

    def _give_up(self, job: Job, attempt: Attempt) -> None:
        """A thread that went on through its grace keeps its place: it does something yet."""
        self._tell(job, attempt.overdue(still_running=True))

    # -- beginning and end

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.close()

    async def _close(self) -> None:
        for executor in self._executors.values():
            executor.close()
        await self._pool.close()


def knows(registry: Registry, request: Request) -> bool:
    """Whether this code has the task that is asked for."""
    return request.task in registry.tasks


def queue_of(registry: Registry, name: str) -> str | None:
    """The queue on which a task is asked for; None: it is never made by workers."""
    found = registry.tasks[name]
    options = found.options
    if options.transactional or (not isinstance(found, TaskClass) and found.child):
        return None
    return options.queue or name
