"""Bodies on an executor that the app was given by name: threads, a pool, a cluster (rules B6, C3, C6, C7).

What is handed over is one function and bytes (`afar`), on a thread of our own, because an executor may block in
`submit`. Whatever keeps its future from bringing a reply is an interruption: nobody knows what the body has done.

A pool that breaks takes with it all that ran in it. So that not all are blamed for what one of them does, those go one
at a time when they come again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from logging import getLogger
from queue import Empty, SimpleQueue
from secrets import token_hex
from threading import Lock, Thread
from time import monotonic

from flowledger.adapters.broker.wrapping import REQUEST, Wrapping, is_wrapped
from flowledger.core.engine.attempt import Attempt, Lost, Outcome, Raised
from flowledger.core.engine.crossing import outcome_of, packed
from flowledger.core.registry import Registry
from flowledger.events.errors import FlowledgerError
from flowledger.events.facts import Progress

from .afar import REPLY, Here, expect, forget, run_attempt, wrapping_for
from .flags import Flags, new_folder, remove_folder
from .given import Given, Made, stays_here
from .maker import Maker

#: How often it is looked whether what was handed over is still wanted.
LOOK_S = 0.1
#: How often it is looked how far bodies in other processes have got.
HEAR_S = 0.5
#: What an executor loses without having begun it is lost again at once: it is said after so long, then after twice the
#: time. Three interruptions in one try are the end of it (C6), and a cluster that restarts needs longer than that.
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 60.0
#: How long `join` waits for an executor to be closed.
CLOSE_S = 10.0
#: Attempts that are remembered to have been in a pool when it broke.
SUSPECTS = 1_000

_LOG = getLogger("flowledger.executors")


@dataclass(slots=True, eq=False)
class _Job:
    attempt: Attempt
    done: Callable[[Outcome], None]
    token: str = field(default_factory=lambda: token_hex(16))
    future: Future[bytes] | None = None
    made: Made | None = None  # what it was handed to
    told: bool = False
    heard: Progress | None = None

    @property
    def who(self) -> tuple[str, str, str, int]:
        """The same for each attempt of one try."""
        return self.attempt.run_id, self.attempt.node.path, self.attempt.phase, self.attempt.try_


class NamedExecutor:
    """The lane of one executor. `submit`, `cancel`, `make` and `close` are called on the loop.

    Args:
        loop: where outcomes are reported.
        given: the executor, or how it is made.
        app: names the app, ``module:attribute``; raises `NotImportable` where it could not be imported elsewhere.
        registry: that app.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, given: Given, *, app: Callable[[], str], registry: Registry
    ) -> None:
        self._loop = loop
        self._given = given
        self._app = app
        self._registry = registry
        self._lock = Lock()
        self._making = asyncio.Lock()
        self._made: Made | None = None if given.is_made_here else given.make()
        self.capacity = 1 if self._made is None else given.places(self._made.executor)
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()  # None: something has changed, look
        self._thread: Thread | None = None
        self._closed = False
        # on the thread, and under the lock where callbacks of futures come too
        self._in_line: deque[_Job] = deque()
        self._flying: dict[str, _Job] = {}
        self._suspects: dict[tuple[str, str, str, int], None] = {}
        self._pause_s = FIRST_PAUSE_S
        self._hear_at_s = 0.0
        self._folder: str | None = None
        self._maker: Maker | None = None
        self._wrapping: Wrapping | None = None

    # -- for the engine -------------------------------------------------------------------------

    @property
    def is_made(self) -> bool:
        """Whether there is an executor to hand bodies to."""
        return self._made is not None

    async def make(self) -> None:
        """Make the executor, if there is none; raises whatever its maker raises."""
        async with self._making:
            if self._made is None and not self._closed:
                await asyncio.to_thread(self._make)

    def submit(self, attempt: Attempt, done: Callable[[Outcome], None]) -> None:
        """Hand the body over, soon."""
        self._begin()
        self._jobs.put(_Job(attempt, done))

    def cancel(self, attempt: Attempt) -> None:
        """Its time is over: it is told, and taken back if it has not begun (C7)."""
        self._jobs.put(None)

    def close(self) -> None:
        """Take back what has not begun, tell what has, and close the executor if it was made here. See `join`."""
        self._closed = True
        self._begin()
        self._jobs.put(None)

    def join(self) -> None:
        """Wait until it is closed, for a while."""
        if self._thread is not None:
            self._thread.join(CLOSE_S)
            if self._thread.is_alive():
                _LOG.warning("executor %s was not closed within %g s", self._given.name, CLOSE_S)

    def _begin(self) -> None:
        if self._thread is None:
            name = f"flowledger-{self._given.name}"
            self._thread = Thread(target=self._serve, name=name, daemon=True)
            self._thread.start()

    def _make(self) -> None:
        made = self._given.make()
        with self._lock:
            closed = self._closed
            if not closed:
                self._made, self.capacity = made, self._given.places(made.executor)
        if closed:
            self._closing(made)

    # -- on the thread --------------------------------------------------------------------------

    def _serve(self) -> None:
        while not self._closed:
            self._take()
            while self._in_line and self._may_go(self._in_line[0]):
                self._hand_over(self._in_line.popleft())
            self._look()
        self._end()

    def _take(self) -> None:
        """What has been submitted; waits for it, no longer than until it is time to look."""
        busy = self._in_line or self._flying
        with suppress(Empty):
            job = self._jobs.get(timeout=LOOK_S if busy else None)
            while True:
                if job is not None:
                    self._in_line.append(job)
                job = self._jobs.get_nowait()

    def _may_go(self, job: _Job) -> bool:
        """One that was in a pool when it broke goes alone."""
        with self._lock:
            flying = list(self._flying.values())
            if job.who in self._suspects:
                return not flying
            return not any(other.who in self._suspects for other in flying)

    def _hand_over(self, job: _Job) -> None:
        if job.attempt.is_cancelled():
            self._report(job, self._unwanted(job))
            return
        try:
            job.future = self._submitted(job)
        except FlowledgerError as error:  # it cannot travel, and never will
            self._report(job, job.attempt.refused(error))
        except BaseException as error:  # noqa: BLE001 - whatever an executor says that takes nothing more
            self._report(job, self._lost(job, error), pause_s=self._pause(error))
        else:
            job.future.add_done_callback(lambda future: self._ended(job, future))

    def _submitted(self, job: _Job) -> Future[bytes]:
        """The future of a job. An executor of our own making that takes nothing more is made once more."""
        try:
            return self._submit(job)
        except FlowledgerError:
            raise
        except BaseException:
            if job.made is None or not self._drop(job.made):
                raise
        return self._submit(job)

    def _submit(self, job: _Job) -> Future[bytes]:
        if self._made is None:
            self._make()
        job.made = made = self._made
        if made is None:
            raise CancelledError
        content = self._content(job, made)
        with self._lock:
            self._flying[job.token] = job
        expect(job.token, Here(job.attempt, self._own_maker))
        folder, limit_s = self._folder_of_flags(), job.attempt.timeout_s
        try:
            return made.executor.submit(
                run_attempt, self._app(), content, job.token, folder, limit_s, self._shared is not None
            )
        except BaseException:
            self._land(job)
            raise

    def _content(self, job: _Job, made: Made) -> bytes:
        content = packed(job.attempt)
        if not job.attempt.guards or stays_here(made.executor):
            return content
        if self._wrapping is None:
            self._wrapping = wrapping_for(self._registry)
        return self._wrapping.wrapped(content, bound_to=REQUEST + job.token)

    def _look(self) -> None:
        """Tell those that are not wanted any more, and take them back where that is sure to do no harm."""
        for job in [job for job in self._in_line if job.attempt.is_cancelled()]:
            self._in_line.remove(job)
            self._report(job, self._unwanted(job))
        with self._lock:
            flying = list(self._flying.values())
        for job in flying:
            if not job.told and job.attempt.is_cancelled():
                job.told = True
                self._flags(job).drop()
            if job.told and job.future is not None and (not job.attempt.is_awaited or self._waits(job)):
                job.future.cancel()
        if monotonic() >= self._hear_at_s:
            self._hear_at_s = monotonic() + HEAR_S
            for job in flying:
                self._hear(job)

    def _waits(self, job: _Job) -> bool:
        """Whether it has surely not begun, and will not."""
        if job.made is not None and stays_here(job.made.executor):
            return not self._flags(job).is_begun()
        return self._shared is not None and self._flags(job).take_back()

    def _hear(self, job: _Job) -> None:
        """Pass on how far the body has got, where it runs in another process."""
        said = self._flags(job).said()
        if said is not None and said != job.heard:
            job.heard = said
            job.attempt.progressed(said.fraction, said.message)

    def _end(self) -> None:
        with self._lock:
            flying, made, self._made = list(self._flying.values()), self._made, None
        if self._folder is not None:
            remove_folder(self._folder)
        for job in flying:
            if job.future is not None:
                job.future.cancel()
        if made is not None:
            self._closing(made)
        if self._maker is not None:
            self._maker.close()

    def _closing(self, made: Made) -> None:
        try:
            made.close()
        except Exception:  # noqa: BLE001 - a maker's own code; nothing waits for it any more
            _LOG.exception("closing executor %s failed", self._given.name)

    # -- when a body is over: on the thread, or on one of the executor's --------------------------

    def _ended(self, job: _Job, future: Future[bytes]) -> None:
        begun = self._flags(job).is_begun()
        self._hear(job)
        self._land(job)
        try:
            outcome = self._outcome(job, future.result())
            self._flags(job).remove()
        except BaseException as error:  # noqa: BLE001 - whatever it says instead of a reply
            self._flags(job).drop()  # its body may run yet
            if isinstance(error, BrokenExecutor) and job.made is not None:
                self._drop(job.made)
            pause_s = 0.0 if begun or job.told else self._pause(error)
            self._report(job, self._lost(job, error), pause_s=pause_s)
        else:
            self._pause_s = FIRST_PAUSE_S
            self._report(job, outcome)

    def _outcome(self, job: _Job, answer: bytes) -> Outcome:
        if is_wrapped(answer) and self._wrapping is not None:
            try:
                answer = self._wrapping.opened(answer, bound_to=REPLY + job.token)
            except FlowledgerError as error:
                return Lost(f"its outcome cannot be read: {error.message}")
        outcome = outcome_of(answer)
        if job.attempt.timed_out and isinstance(outcome, Raised | Lost):
            return job.attempt.overdue()
        if not isinstance(outcome, Lost):
            with self._lock:
                self._suspects.pop(job.who, None)
        return outcome

    def _lost(self, job: _Job, error: BaseException) -> Outcome:
        """No reply will come."""
        if job.told or job.attempt.timed_out:
            return self._unwanted(job)
        if isinstance(error, BrokenExecutor):
            self._suspect(job)
        if isinstance(error, CancelledError):
            return Lost(f"the executor {self._given.name} has cancelled it")
        said = job.attempt.failure(error, "error")
        return Lost(f"the executor {self._given.name} lost it: {said.type}: {said.message}")

    def _unwanted(self, job: _Job) -> Outcome:
        if job.attempt.timed_out and job.attempt.is_awaited:
            return job.attempt.overdue()
        return Lost("nobody had begun it, and nobody wants it any more")

    def _suspect(self, job: _Job) -> None:
        with self._lock:
            self._suspects[job.who] = None
            while len(self._suspects) > SUSPECTS:
                del self._suspects[next(iter(self._suspects))]

    def _pause(self, error: BaseException) -> float:
        """How long to wait before it is asked again. One that is broken stays so, or another is made in its place."""
        if isinstance(error, BrokenExecutor):
            return 0.0
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, LONGEST_PAUSE_S)
        return pause_s

    def _land(self, job: _Job) -> None:
        with self._lock:
            self._flying.pop(job.token, None)
        forget(job.token)
        self._jobs.put(None)  # somebody may wait to go alone

    def _drop(self, made: Made) -> bool:
        """It takes no more. Whether another can be made, because we have made this one."""
        if not self._given.is_made_here or self._closed:
            return False
        with self._lock:
            mine = self._made is made
            if mine:
                self._made = None
        if mine:
            Thread(target=self._closing, args=(made,), name=f"flowledger-{self._given.name}-end", daemon=True).start()
        return True

    def _report(self, job: _Job, outcome: Outcome, *, pause_s: float = 0.0) -> None:
        with suppress(RuntimeError):  # the loop is closed: the process is on its way out
            if pause_s:
                _LOG.warning("executor %s takes nothing: it is asked again in %g s", self._given.name, pause_s)
                self._loop.call_soon_threadsafe(self._loop.call_later, pause_s, job.done, outcome)
            else:
                self._loop.call_soon_threadsafe(job.done, outcome)

    # -- what there is one of -------------------------------------------------------------------

    def _flags(self, job: _Job) -> Flags:
        return Flags(self._folder_of_flags(), job.token)

    def _folder_of_flags(self) -> str:
        if self._folder is None:
            self._folder = new_folder(self._shared)
        return self._folder

    @cached_property
    def _shared(self) -> str | None:
        settings = getattr(self._registry, "settings", None)
        return None if settings is None else settings.shared_folder

    def _own_maker(self) -> Maker:
        """For bodies that the executor runs in this very process."""
        with self._lock:
            if self._maker is None:
                self._maker = Maker(self._registry)
            return self._maker
