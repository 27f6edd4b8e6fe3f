"""A process that drives runs: the engine and the driving as they are, everything around them simulated."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, cast

from flowledger import App
from flowledger.adapters import driving, forking, submitting
from flowledger.adapters.adrift import Adrift
from flowledger.adapters.children import RunChildren
from flowledger.adapters.driving import Wish
from flowledger.adapters.executors import ASYNC_CAPACITY
from flowledger.adapters.executors.native import AsyncExecutor
from flowledger.adapters.forking import Asked
from flowledger.adapters.mailroom import Mailroom
from flowledger.adapters.runtime import Runtime
from flowledger.adapters.settings import Settings
from flowledger.adapters.vaulting import RunVaults
from flowledger.core.engine.active import Lane, Services
from flowledger.core.engine.attempt import Attempt, Outcome
from flowledger.core.engine.resources import ResourcePool
from flowledger.core.engine.run import RunDriver
from flowledger.core.engine.slots import Slots
from flowledger.events.board import Conductor
from flowledger.events.envelope import StoredEvent
from flowledger.events.errors import Fenced, Refused, StoreError, StoreUnavailable
from flowledger.events.facts import Progress
from flowledger.events.requests import Suspend
from flowledger.events.store import FINAL, Append, Appended, AppendResult, Owner, Store, Stream

from .ledger import Lending
from .scheduler import ProcessLoop

if TYPE_CHECKING:
    from .told import Call
    from .world import World

BEAT_S, FENCE_S, TAKEOVER_S, OUTAGE_S = 5.0, 15.0, 20.0, 30.0
LOOK_S = 3.0
TRIES = 0.2  # how often a process asks for a run though another lives that drives it
NOTICES = 0.7  # how often a process that stood still knows it before it says that it lives
SETTINGS = Settings(database_url="memory://", threads=2)

Done = Callable[[AppendResult], None]


class Beating:
    """As much of a heartbeat as others look at."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.fenced = False


class Process(Runtime):
    """A `Runtime` without threads: its parts are made here, by the world it lives in."""

    def __init__(self, world: World, name: str) -> None:  # not Runtime's: it would open and start the real ones
        self.world = world
        self.chance = Random(f"{world.seed} {name}")
        self.fate = ProcessLoop(world.scheduler)
        self.loop = self.fate.loop
        self.settings = SETTINGS
        self.drivers = {}
        self.claiming = set()
        self.beating = Beating(Owner(id=name, host="simulated", pid=len(world.processes), app="model"))
        self.heartbeat = cast("Any", self.beating)
        self.lending = Lending(self, world.store.ledger)
        self.store = cast("Store", _View(self))
        self.vaults = RunVaults(world.store.run_keys, SETTINGS, now_us=world.now_us, ephemeral=True)
        self.adrift = Adrift(self.store, name)
        self.mailroom = self._post = Post(self)
        capacity = self.chance.choice([1, 2, 4])
        bodies = Bodies(self, capacity)
        ahead = self.chance.random() < 0.5
        self.services = Services(
            loop=self.loop, appender=Wire(self), clock=world, ids=Ids(world),
            lanes={
                **{lane: Lane(bodies, Slots(capacity, ahead=ahead)) for lane in ("threads", "transaction")},
                "async": Lane(AsyncExecutor(self.loop, capacity=ASYNC_CAPACITY), Slots(ASYNC_CAPACITY)),
            },
            resources=ResourcePool({}, lambda _: {}), listeners=Deaf(), post=self.mailroom,
            transactions=self.lending, children=RunChildren(self, world.app), notes=Forgetful(), actor=name,
            inline_bytes=65_536, max_bytes=1 << 24, vaults=self.vaults,
        )  # fmt: skip
        self.doom = ""  # where its next append will kill it
        self._seen_us = world.now_us()
        world.store.join(self.heartbeat.owner)
        self.loop.call_later(BEAT_S, self._beat)
        self.loop.call_later(self.chance.random() * LOOK_S, self._look)

    @property
    def name(self) -> str:
        return self.owner

    @property
    def is_dead(self) -> bool:
        return self.fate.dead

    def drive(self, call: Call, app: App) -> None:
        """What `App.run` does."""
        wish = app.wish(call.part, key=call.key, tags=None, on_failure=call.spec.on_failure, executor=None)
        if self.world.conducted:
            self._attend(lambda: self._submit(app, wish))
        else:
            self._attend(lambda: driving.run(self, app, wish, None, None))

    async def _submit(self, app: App, wish: Wish) -> None:
        """What `App.submit` does: whoever looks for jobs drives it, and its child runs."""
        append = submitting.submission(self.services, app.name, driving.ready(self, wish), queue="default")
        submitting.submit(self.store, append)

    def resume(self, app: App, run_id: str) -> None:
        """What `Run.resume` does, and the same call again."""
        stream = self.world.store.stream(run_id)
        if stream is not None:
            self._attend(lambda: driving.resume(self, app, stream))

    def attend(self, app: App, run_id: str) -> None:
        """What whoever has asked something does, where nobody drives the run."""
        stream = self.world.store.stream(run_id)
        if stream is not None and stream.status not in FINAL:
            self._attend(lambda: driving.attend(self, app, stream))

    def revert(self, app: App, run_id: str) -> None:
        """What `Run.revert` does."""
        stream = self.world.store.stream(run_id)
        if stream is not None:
            self._attend(lambda: driving.revert(self, app, stream, reason="simulated"))

    def rerun(self, app: App, run_id: str, from_: str | None) -> None:
        """What `Run.rerun` does."""
        stream = self.world.store.stream(run_id)
        if stream is not None:
            self._attend(lambda: driving.rerun(self, app, stream, reason="simulated", from_=from_))

    def fork(self, app: App, run_id: str, asked: Asked) -> None:
        """What `Run.fork` does."""
        stream = self.world.store.stream(run_id)
        if stream is not None:
            self._attend(lambda: forking.fork(self, app, stream, asked))

    def suspend(self, run_id: str) -> None:
        """What ^C does."""
        driver = self.drivers.get(run_id)
        if driver is not None:
            self.loop.call_soon(partial(driver.request, Suspend(reason="simulated"), actor="somebody"))

    def crash(self, why: str) -> None:
        """Be gone from one moment to the next; others know at once, or only by the silence."""
        self.world.note(f"{self.name} is killed {why}")
        self.fate.die()
        if self.chance.random() < 0.5:
            self.world.store.leave(self.owner)

    def dies(self, when: str) -> bool:
        """Whether it is killed just now, or was before."""
        doomed = self.doom == when or (
            self.world.may_crash() and self.chance.random() < self.world.faults.crash_at_append
        )
        if doomed and not self.is_dead:
            self.crash(when)
        return self.is_dead

    def lose_all(self, error: Fenced) -> None:
        for driver in list(self.drivers.values()):
            driver.lose(error)

    def _attend(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        async def attended() -> None:
            try:
                await work()
            except (Refused, StoreError) as error:
                self.world.note(f"{self.name} hears {type(error).__name__}: {error.message[:80]}")

        self.loop.create_task(attended())

    # -- by itself ------------------------------------------------------------------------------

    def _beat(self) -> None:
        """Say that it lives; stop where it could not for too long (B2). One that stood still may not have noticed."""
        now = self.world.now_us()
        silent_s = (now - self._seen_us) / 1e6
        if not self.beating.fenced and silent_s > FENCE_S and self.chance.random() < NOTICES:
            self._fence()
        if not self.beating.fenced:
            self.world.store.beat(self.owner)
            self._seen_us = now
            self.let_go()
            if self.world.conducted:
                self.world.store.board.say(self._conductor())
        self.loop.call_later(BEAT_S, self._beat)

    def _conductor(self) -> Conductor:
        app, owner = self.world.app, self.beating.owner
        return Conductor(
            owner=owner.id, host=owner.host, pid=owner.pid, app=app.name, queues=("default",),
            factories=tuple(app.flows), max_runs=100, runs=len(self.drivers), draining=False, seen_s=0.0,
        )  # fmt: skip

    def _fence(self) -> None:
        """Own nothing any more; go on under a new name, as `App` does."""
        self.world.note(f"{self.name} is fenced")
        self.beating.fenced = True
        self.lose_all(Fenced("simulated"))
        self.world.replace(self)

    def _look(self) -> None:
        """Look for runs that nobody drives, and let the world do its worst."""
        self.disturb_only()
        self._post.look()
        if not self.beating.fenced:
            for stream in self.world.store.streams(limit=100, statuses=("PENDING", "RUNNING", "SUSPENDING")):
                if stream.run_id not in self.drivers and (self.chance.random() < TRIES or not self._is_held(stream)):
                    self.resume(self.world.app, stream.run_id)
            if self.world.conducted:
                self._answer_mail()

    def _answer_mail(self) -> None:
        """Mail to a job that nobody owns makes it due, also one that is suspended (G1)."""
        store = self.world.store
        for stream in store.streams(limit=100, statuses=("SUSPENDED",)):
            if stream.owner is None and store.inbox(stream.run_id).rows:
                self.attend(self.world.app, stream.run_id)

    def _is_held(self, stream: Stream) -> bool:
        """Whether somebody drives it, as far as one can see."""
        seen_s = self.world.store.seen_s(stream.owner)
        return seen_s is not None and seen_s <= TAKEOVER_S

    def disturb_only(self) -> None:
        """Look again later."""
        self.world.disturb(self)
        self.loop.call_later(LOOK_S * (0.5 + self.chance.random()), self._look)


#: What may be asked of the store while it is away.
_ASKED = ("claim", "read", "find", "stream", "inbox", "send")


class _View:
    """The store as one process sees it: not at all once it is gone, and now and then not for a moment."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def __getattr__(self, name: str) -> Any:
        process = self._process
        if process.is_dead:
            raise StoreUnavailable("the process is gone")
        if name in _ASKED and process.chance.random() < process.world.faults.away:
            raise StoreUnavailable("the store is away for a moment")
        lent = name in ("transactions", "longest_transaction_s", "transact", "settle")
        return getattr(process.lending if lent else process.world.store, name)

    def append(self, batch: Sequence[Append]) -> list[AppendResult]:
        """What is appended beside the appender: how child runs and adoptions begin."""
        self._may_fail("before an append")
        results = self._process.world.store.append(batch)
        self._may_fail("after an append")
        return results

    def _may_fail(self, when: str) -> None:
        process = self._process
        if process.dies(when) or process.chance.random() < process.world.faults.away:
            raise StoreUnavailable(f"simulated {when}")


class Wire:
    """The appender: what it sends arrives late, twice or never, and so do the answers (A3).

    Like the real one it sends the same request again until it is answered, and gives up after `OUTAGE_S`.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world
        self._loop = process.loop

    def append(self, request: Append, done: Done) -> None:
        if self._process.dies("before an append"):
            return
        until_us = self._world.now_us() + round(OUTAGE_S * 1e6)
        self._send(request, _once(done), until_us)

    def _send(self, request: Append, done: Done, until_us: int) -> None:
        chance, faults = self._process.chance, self._world.faults
        if self._world.now_us() > until_us:
            done(StoreUnavailable("simulated outage"))
            return
        if chance.random() >= faults.lost_request:
            for _ in range(1 + (chance.random() < faults.sent_twice)):
                # on the wire it needs its process no more
                self._world.loop.call_later(self._delay_s(), self._arrive, request, done)
        # whoever hears nothing sends again
        self._loop.call_later(1.0 + 2 * faults.slow_s, self._again, request, done, until_us)

    def _again(self, request: Append, done: Done, until_us: int) -> None:
        if not getattr(done, "called", False):
            self._send(request, done, until_us)

    def _arrive(self, request: Append, done: Done) -> None:
        chance, faults = self._process.chance, self._world.faults
        if chance.random() < faults.away:
            return
        result = self._world.store.append((request,))[0]
        if self._process.dies("after an append") or chance.random() < faults.lost_answer:
            return
        self._loop.call_later(self._delay_s(), self._answer, request, result, done)

    def _answer(self, request: Append, result: AppendResult, done: Done) -> None:
        if isinstance(result, Appended) and not getattr(done, "called", False):
            self._world.store.witness(request.run_id).acknowledged(request, result.version)
        done(result)

    def _delay_s(self) -> float:
        slow_s = self._world.faults.slow_s
        return self._process.chance.random() * min(slow_s, 5.0)


class _once:  # noqa: N801 - a function that knows whether it was called
    def __init__(self, done: Done) -> None:
        self._done = done
        self.called = False

    def __call__(self, result: AppendResult) -> None:
        if not self.called:
            self.called = True
            self._done(result)


class Post(Mailroom):
    """A mailroom without a thread: it looks now and then."""

    def __init__(self, process: Process) -> None:
        super().__init__(process.store, process.owner, process.loop, process.drivers)
        self._process = process

    async def introduce(self, driver: RunDriver, *, is_new: bool) -> None:
        if not is_new:
            driver.deliver(await self._read(driver.run_id), later=True)

    def look(self) -> None:
        for run_id, driver in list(self._process.drivers.items()):
            if not driver.is_over:
                self.fetch(run_id)


class Bodies:
    """An executor: so many bodies at once, each in one go at some moment, its outcome heard some time later."""

    def __init__(self, process: Process, capacity: int) -> None:
        self.capacity = capacity
        self._process = process
        self._line: deque[tuple[Attempt, Callable[[Outcome], None]]] = deque()
        self._running = 0

    def submit(self, attempt: Attempt, done: Callable[[Outcome], None]) -> None:
        self._line.append((attempt, done))
        self._next()

    def _next(self) -> None:
        while self._line and self._running < self.capacity:
            self._running += 1
            self._process.loop.call_later(self._takes_s(), self._run, *self._line.popleft())

    def _run(self, attempt: Attempt, done: Callable[[Outcome], None]) -> None:
        outcome = attempt.run()
        self._process.world.check()
        attempt.took_s = 0.0001
        self._process.loop.call_later(self._takes_s(), self._ended, outcome, done)

    def _ended(self, outcome: Outcome, done: Callable[[Outcome], None]) -> None:
        self._running -= 1
        done(outcome)
        self._next()

    def _takes_s(self) -> float:
        return self._process.chance.random() * self._process.world.faults.slow_s

    def cancel(self, attempt: Attempt) -> None:
        """No body looks."""

    def close(self) -> None:
        """Nothing is kept."""


class Ids:
    """Ids in the order in which they are asked for."""

    def __init__(self, world: World) -> None:
        self._world = world

    def run_id(self) -> str:
        return f"R{self._world.number():025d}"

    def request_id(self) -> str:
        return f"Q{self._world.number():025d}"

    def random(self) -> float:
        return self._world.chance.random()


class Forgetful:
    """Nobody looks how far bodies have got."""

    def put(self, run_id: str, path: str, try_: int, attempt: int, progress: Progress) -> None: ...

    def forget(self, run_id: str) -> None: ...


class Deaf:
    """Nobody listens."""

    def __bool__(self) -> bool:
        return False

    def tell(self, run_id: str, events: Sequence[StoredEvent]) -> None: ...

    def progress(self, run_id: str, path: str, attempt: int, fraction: float, message: str) -> None: ...
