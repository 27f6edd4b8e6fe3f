"""`Conductor`: claims jobs in batches and drives them side by side on the engine's loop (rules B1, B3, F3).

It claims where there is something to claim: when it begins, when its lookout has seen a job, while there are more than
it had room for, and after an answer was lost.

What it cannot take up (its code has no such flow, or builds another plan) goes back to the board with a remark, and is
left to others for a while; a run of which the log has lost events is moved aside, for a person. Draining, it claims no
more, lets running bodies finish, and gives back what is not over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import TypeVar

from flowledger.adapters import driving, jobs
from flowledger.adapters.claiming import in_thread
from flowledger.adapters.runtime import Runtime
from flowledger.core.engine.run import RunDriver
from flowledger.core.registry import Registry
from flowledger.events import board
from flowledger.events.board import Claimed, Offer
from flowledger.events.errors import Fenced, FlowledgerError, LogRewound, StoreError, StoreUnavailable

from .lookout import Lookout
from .refusals import Refusals

T = TypeVar("T")

#: Jobs per claim: enough that claiming costs nothing, few enough that other conductors get theirs.
BATCH = 50
#: How often it looks whether it is fenced, and tries again what could not be done.
TURN_S = 1.0
#: It says what it takes and has when that has changed, at most so often; and again after a while, should somebody have
#: swept it away.
SAY_S = 5.0
SAY_AGAIN_S = 300.0
#: Runs that are read and compiled at the same time.
READING = 4

_LOG = logging.getLogger("flowledger.conductor")


class Conductor:
    """Takes jobs of one app until it is told to drain, or its process is fenced.

    Args:
        runtime: the process's parts; the conductor lives on its loop.
        registry: the flows it can run.
        queues: the queues it takes jobs from.
        max_runs: how many runs it drives at once.
    """

    def __init__(self, runtime: Runtime, registry: Registry, *, queues: Sequence[str], max_runs: int) -> None:
        self._runtime = runtime
        self._registry = registry
        self._board = runtime.store.board
        self._max_runs = max_runs
        self._offer = Offer(
            app=registry.name, factories=sorted({*registry.flows, *registry.tasks}), queues=tuple(queues),
            takeover_s=runtime.settings.lease_takeover_s,
        )  # fmt: skip
        self._refusals = Refusals()
        self._lookout = Lookout(
            self._board, runtime.owner, self._offer, refusals=self._refusals, seen=self._seen_by_the_lookout
        )
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._reading = asyncio.Semaphore(READING)
        self._bell = asyncio.Event()
        self._draining = False
        self._told = True  # whether there may be a job to claim
        self._unsure = False  # whether runs may be ours that nobody here drives (a lost answer)
        self._said: board.Conductor | None = None
        self._said_at = float("-inf")
        self._claimed_at = float("-inf")

    # -- what others ask ------------------------------------------------------------------------

    @property
    def runs(self) -> int:
        """How many runs it has."""
        return len(self._runs)

    @property
    def has_room(self) -> bool:
        """Whether it would take another job."""
        return len(self._runs) < self._max_runs

    @property
    def heard_at(self) -> float:
        """When the board last answered, in monotonic time."""
        return max(self._claimed_at, self._lookout.heard_at)

    @property
    def draining(self) -> bool:
        """Whether it takes no more jobs."""
        return self._draining

    def drain(self) -> None:
        """Take no more jobs; give back what is not over as soon as no body of it runs. Called on the loop."""
        if self._draining:
            return
        self._draining = True
        self._said_at = float("-inf")  # said at once: whoever ends it looks for that
        self._lookout.stop()
        _LOG.info("draining: %d runs are let go of as soon as none of their tasks runs here", len(self._runs))
        for run_id in self._runs:
            self._give_up(run_id)
        self._bell.set()

    def ring(self) -> None:
        """There may be new jobs. Called on the loop."""
        self._told = True
        self._bell.set()

    def _seen_by_the_lookout(self) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._runtime.loop.call_soon_threadsafe(self.ring)

    # -- the loop -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Take and drive jobs; returns when it has drained.

        Raises:
            Fenced: the process may own nothing any more.
        """
        try:
            while not (self._draining and not self._runs):
                self._check_fenced()
                if self._may_claim:
                    await self._look_for_jobs()
                await self._say()
                if not (self._told and self._may_claim) or self._unsure:
                    await self._sleep()
            await self._say(at_once=True)
        finally:
            self._lookout.stop()

    @property
    def _may_claim(self) -> bool:
        return self.has_room and not self._draining

    async def _look_for_jobs(self) -> None:
        """Claim where there is a reason to; where none is left, the lookout finds the next."""
        told, claimed = self._told, 0
        if told or self._unsure or self._runtime.store.immediate:  # to ask a board in memory costs nothing
            claimed = await self._take()
        if not (self._told or self._unsure):
            self._lookout.look(in_vain=told and not claimed)

    def _check_fenced(self) -> None:
        if self._runtime.heartbeat.fenced:
            raise Fenced("the conductor could not reach the store in time; others have its runs now")

    async def _sleep(self) -> None:
        try:
            async with asyncio.timeout(TURN_S):
                await self._bell.wait()
        except TimeoutError:
            pass
        self._bell.clear()

    async def _take(self) -> int:
        """Claim what there is room for; how many that were. As many as asked for: there are likely more."""
        room = min(BATCH, self._max_runs - len(self._runs))
        me = self._runtime.owner
        try:
            if self._unsure:
                known = [*self._runs, *self._runtime.drivers, *self._runtime.claiming]
                await self._in_thread(lambda: self._board.keep(me, known))
                self._unsure = False
            self._told = False  # what comes up from here on may be missed by the claim
            but = self._refusals.now()
            claimed = await self._in_thread(lambda: self._board.claim(me, self._offer, limit=room, but=but))
        except StoreUnavailable as error:
            self._unsure = True
            _LOG.warning("jobs cannot be claimed: %s", error)
            return 0
        self._claimed_at = monotonic()
        for job in claimed:
            self._runtime.claiming.add(job.run_id)
            self._runs[job.run_id] = asyncio.ensure_future(self._work(job))
        self._told = self._told or len(claimed) == room
        return len(claimed)

    async def _say(self, *, at_once: bool = False) -> None:
        said = board.Conductor(
            owner=self._runtime.owner, host="", pid=0, app=self._offer.app, factories=tuple(self._offer.factories),
            queues=tuple(self._offer.queues), runs=len(self._runs), max_runs=self._max_runs,
            draining=self._draining, seen_s=0.0,
        )  # fmt: skip
        if not at_once and monotonic() < self._said_at + (SAY_AGAIN_S if said == self._said else SAY_S):
            return
        self._said, self._said_at = None, monotonic()
        try:
            await self._in_thread(lambda: self._board.say(said))
        except StoreUnavailable as error:
            _LOG.warning("the board does not hear of this conductor: %s", error)
        else:
            self._said = said

    # -- one job --------------------------------------------------------------------------------

    async def _work(self, job: Claimed) -> None:
        run_id = job.run_id
        taken_up = False

        def begun(driver: RunDriver) -> None:
            nonlocal taken_up
            taken_up = True
            self._reading.release()
            if self._draining:
                driver.give_up(DRAINED)

        await self._reading.acquire()
        try:
            loaded = await driving.work(self._runtime, self._registry, run_id, job.claim, begun)
            _LOG.info("run %s (%s) is %s", run_id, loaded.plan.factory, loaded.state.status)
            self._refusals.drop(run_id)
        except LogRewound as error:
            await self._move_aside(run_id, error)
        except Fenced as error:
            _LOG.warning("run %s was taken over: %s", run_id, error)
        except StoreUnavailable as error:
            self._unsure = True
            _LOG.warning("run %s is left where it is: %s", run_id, error)
        except FlowledgerError as error:
            await self._refuse(run_id, error)
        except Exception as error:  # noqa: BLE001 - whatever one run meets, the others go on
            _LOG.error("run %s met an error that is no answer", run_id, exc_info=error)
            await self._refuse(run_id, error)
        finally:
            if not taken_up:
                self._reading.release()
            elif run_id in self._refusals:
                self._unsure = True  # it is still ours, but nobody drives it: the next claim lets go of it first
            del self._runs[run_id]
            self._bell.set()

    async def _refuse(self, run_id: str, error: Exception) -> None:
        """Say on the board why the job does not run here, and leave it to others for a while."""
        pause_s = self._refusals.add(run_id)
        _LOG.error("run %s is not taken up here, next look in %.0f s: %s", run_id, pause_s, error)
        reason, actor = f"{type(error).__name__}: {error}"[:1000], self._runtime.services.actor
        try:
            await self._in_thread(lambda: self._board.note(run_id, "refused", reason=reason, actor=actor))
        except StoreError as unavailable:
            _LOG.warning("the board does not hear of it: %s", unavailable)

    async def _move_aside(self, run_id: str, error: LogRewound) -> None:
        """Nobody shall go on with what is left of the run before a person has looked."""
        _LOG.error("run %s is moved aside: %s", run_id, error)
        store, actor = self._runtime.store, self._runtime.services.actor

        def trash() -> None:
            stream = store.stream(run_id)
            if stream is not None:
                jobs.trash(store, stream, reason=error.message, actor=actor)

        try:
            await self._in_thread(trash)
        except FlowledgerError as refused:
            _LOG.error("run %s cannot be moved aside: %s", run_id, refused)

    def _give_up(self, run_id: str) -> None:
        driver = self._runtime.drivers.get(run_id)
        if driver is not None:
            driver.give_up(DRAINED)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await in_thread(self._runtime, work)


DRAINED = "its conductor drains"
