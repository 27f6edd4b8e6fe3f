"""Attempts made by workers: asked for through a broker, watched by their claims (rules C1 to C3, C7).

What is published is a hint and may be lost or come twice. What counts is the claim in the store: who has none is asked
again, who has one and is silent is lost. Outcomes do not come here but into the inbox of the run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, Protocol

from flowledger.adapters.broker.wrapping import Wrapping, is_wrapped
from flowledger.core.engine.attempt import Attempt, Lost, Outcome
from flowledger.core.engine.crossing import packed
from flowledger.core.engine.settling import GRACE_S
from flowledger.core.portable import Reference, encoded
from flowledger.core.ports import Clock, Post
from flowledger.events.claims import AttemptClaims, AttemptKey, Claimed
from flowledger.events.errors import FlowledgerError, StoreError

from .waiting import Line, WaitingQueues

#: How often claims are looked at while workers make something.
WATCH_S: Final = 2.0
#: Who has no claim after so long is asked for again, then at twice the time, at most every so often.
RESEND_S: Final = 10.0
RESEND_AT_MOST_S: Final = 60.0
#: A broker that has been away for so long while something waits is said to be.
AWAY_S: Final = 10.0
#: How long a request may be acted on; what is not claimed by then has been asked for again.
EXPIRES_S: Final = 3600.0
#: What a worker may need to report, beyond its body's own time and grace.
SLACK_S: Final = 30.0
#: Larger requests are kept in the store, and the message says where.
IN_MESSAGE_BYTES: Final = 131_072
#: Attempts asked for at once; it only bounds a mistake.
CAPACITY: Final = 100_000

_LOG = logging.getLogger("flowledger.workers")


class Publishes(Protocol):
    """What is asked of `adapters.broker.publisher.Publisher`."""

    def publish(self, queue: str, content: bytes, *, expires_s: float, secret: bool = False) -> None:
        """Have a request sent; returns at once."""
        ...

    def close(self) -> None:
        """End."""
        ...

    @property
    def away_s(self) -> float:
        """For how many seconds the broker has been away; 0: it is there."""
        ...

    @property
    def trouble(self) -> str:
        """Why."""
        ...


@dataclass(slots=True, eq=False)
class _Asked:
    """An attempt that was asked for, since when, when it is asked for again, and what has been seen of it."""

    attempt: Attempt
    done: Callable[[Outcome], None]
    content: bytes
    since_s: float = field(default_factory=monotonic)
    pause_s: float = RESEND_S
    again_s: float = 0.0
    claimed: bool = False
    silent: bool = False

    @property
    def waits(self) -> bool:
        """Whether nobody has begun it."""
        return not self.claimed and self.attempt.is_awaited


class RemoteExecutor:
    """The lane "workers" of a process. All methods are called on the event loop.

    Args:
        loop: where outcomes are reported.
        publisher: sends the requests.
        claims: who makes what.
        owner: the process's id as an owner of runs.
        app: whose tasks they are.
        clock: store time.
        post: fetches a run's mail before one of its attempts is judged.
        wrapping: encrypts what holds secrets.
        watch_s: how often claims are looked at.
        resend_s: how long a claim is waited for before workers are asked again.
    """

    capacity = CAPACITY

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        publisher: Publishes,
        claims: AttemptClaims,
        *,
        owner: str,
        app: str,
        clock: Clock,
        post: Post,
        wrapping: Wrapping,
        watch_s: float = WATCH_S,
        resend_s: float = RESEND_S,
    ) -> None:
        self._loop = loop
        self._publisher = publisher
        self._claims = claims
        self._clock = clock
        self._post = post
        self._wrapping = wrapping
        self.watch_s = watch_s
        self.resend_s = resend_s
        self._asked: dict[AttemptKey, _Asked] = {}
        self._unwanted: set[AttemptKey] = set()
        self._watch: asyncio.Task[None] | None = None
        self._queues = WaitingQueues(claims, owner=owner, app=app, clock=clock)
        self._says_away = False

    # -- for the engine -------------------------------------------------------------------------

    def submit(self, attempt: Attempt, done: Callable[[Outcome], None]) -> None:
        """Ask workers for the attempt."""
        asked = _Asked(attempt, done, packed(attempt), pause_s=self.resend_s)
        self._asked[_key(attempt)] = asked
        try:
            self._ask(asked)
        except FlowledgerError as error:  # it cannot be sent, and never will: what was asked for is wrong
            del self._asked[_key(attempt)]
            done(attempt.refused(error))
            return
        if self._watch is None:
            self._watch = self._loop.create_task(self._watch_on())

    def cancel(self, attempt: Attempt) -> None:
        """Its worker is told with its next sign of life."""
        self._unwanted.add(_key(attempt))

    def close(self) -> None:
        """Watch no more. What workers make goes on, and its outcomes wait in the inboxes."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._asked.clear()

    def opened(self, reply: bytes, bound_to: str) -> bytes:
        """See `core.ports.Workers.opened`."""
        return self._wrapping.opened(reply, bound_to=bound_to) if is_wrapped(reply) else reply

    # -- for whoever watches --------------------------------------------------------------------

    def complaints(self) -> list[str]:
        """What keeps workers from making what they were asked for, each in a line. May be called from any thread."""
        waiting = self._waiting()
        found: list[str] = []
        if waiting and self._publisher.away_s >= AWAY_S:
            found.append(
                f"the broker has been away for {self._publisher.away_s:.0f} s ({self._publisher.trouble}), and "
                f"{waiting} attempts wait for workers"
            )
        found += [
            f"no worker takes queue {queue}, and {line.waiting} attempts wait"
            for queue, line in self._queues.unserved.items()
        ]
        return found

    # -- asking ---------------------------------------------------------------------------------

    def _ask(self, asked: _Asked) -> None:
        asked.again_s = monotonic() + asked.pause_s
        asked.pause_s = min(2 * asked.pause_s, max(RESEND_AT_MOST_S, self.resend_s))
        if len(asked.content) <= IN_MESSAGE_BYTES:
            self._publish(asked, asked.content)
        else:
            self._loop.create_task(self._keep(asked))

    def _publish(self, asked: _Asked, content: bytes) -> None:
        attempt = asked.attempt
        self._publisher.publish(queue_of(attempt), content, expires_s=EXPIRES_S, secret=attempt.guards)

    async def _keep(self, asked: _Asked) -> None:
        """Keep a large request in the store, then say where it is; where that fails, it is asked for again anyway."""
        key, call, secret = _key(asked.attempt), asked.attempt.poll_us, asked.attempt.guards
        content = asked.content
        try:
            if secret:
                content = self._wrapping.wrapped(content, bound_to=parcel(key, call))
            await asyncio.to_thread(self._claims.keep, key, call, content)
            self._publish(asked, encoded(reference(key, call, secret=secret)))
        except StoreError as error:
            _LOG.warning("a request for %s of run %s could not be kept: %s", key.path, key.run_id, error.message)
        except FlowledgerError as error:
            if self._asked.get(key) is asked:
                del self._asked[key]
                asked.done(asked.attempt.refused(error))

    # -- watching -------------------------------------------------------------------------------

    async def _watch_on(self) -> None:
        while True:
            await asyncio.sleep(self.watch_s)
            self._asked = {key: asked for key, asked in self._asked.items() if asked.attempt.is_awaited}
            try:
                if self._asked or self._unwanted:
                    await self._look()
                self._see_broker()
                await self._queues.look(self._lines())
            except StoreError as error:
                _LOG.warning("the claims of workers could not be read: %s", error.message)
                continue
            if not self._asked and not self._unwanted:
                self._watch = None
                return

    def _lines(self) -> dict[str, Line]:
        """What nobody has begun, by queue."""
        now_s, lines = monotonic(), dict[str, Line]()
        for asked in self._asked.values():
            if asked.waits:
                waiting, waits_s = lines.get(queue_of(asked.attempt), Line(0, 0.0))
                lines[queue_of(asked.attempt)] = Line(waiting + 1, max(waits_s, now_s - asked.since_s))
        return lines

    def _waiting(self) -> int:
        return sum(asked.waits for asked in list(self._asked.values()))

    def _see_broker(self) -> None:
        """Say it once that the broker is away while something waits for it."""
        waiting = self._waiting()
        away_s = self._publisher.away_s if waiting else 0.0
        if away_s >= AWAY_S and not self._says_away:
            _LOG.warning(
                "the broker has been away for %.0f s, and %d attempts wait for workers: %s", away_s, waiting,
                self._publisher.trouble,
            )  # fmt: skip
        self._says_away = away_s >= AWAY_S

    async def _look(self) -> None:
        """One statement for all; a second one only where somebody is to stop."""
        watched = dict(self._asked)
        run_ids = sorted({key.run_id for key in watched})
        found = {claim.key: claim for claim in await asyncio.to_thread(self._claims.of, run_ids)}
        for key, asked in watched.items():
            if self._asked.get(key) is asked and asked.attempt.is_awaited:
                self._judge(key, asked, found.get(key))
        unwanted, self._unwanted = self._unwanted, set()
        if unwanted:
            await asyncio.to_thread(self._claims.cancel, sorted(unwanted))

    def _judge(self, key: AttemptKey, asked: _Asked, claim: Claimed | None) -> None:
        attempt = asked.attempt
        asked.claimed = claim is not None and (claim.call >= attempt.poll_us or claim.lives)
        if claim is None or not asked.claimed:
            self._unclaimed(key, asked)
        elif claim.ended:
            self._post.fetch(key.run_id)  # its outcome is there, or was
        elif not claim.lives:
            self._silent(key, asked, claim)
        else:
            asked.silent = False
            self._alive(key, asked, claim)

    def _unclaimed(self, key: AttemptKey, asked: _Asked) -> None:
        attempt, now_s = asked.attempt, monotonic()
        if attempt.is_cancelled():
            self._end(key, asked, Lost("nobody had begun it, and nobody wants it any more"))
        elif attempt.deadline_us is not None and self._clock.now_us() >= attempt.deadline_us:
            self._end(key, asked, attempt.overdue())
        elif now_s >= asked.again_s:
            self._ask(asked)

    def _silent(self, key: AttemptKey, asked: _Asked, claim: Claimed) -> None:
        """Nothing is heard of its worker. It may have reported before it died: that is looked for first (C3)."""
        if not asked.silent:
            asked.silent = True
            self._post.fetch(key.run_id)
        else:
            self._end(key, asked, Lost(f"worker {claim.worker} is gone, last seen {claim.seen_s:.0f} s ago"))

    def _alive(self, key: AttemptKey, asked: _Asked, claim: Claimed) -> None:
        attempt = asked.attempt
        if claim.fraction is not None:
            attempt.progressed(claim.fraction, claim.message)
        if attempt.is_cancelled() and not claim.cancelled:
            self._unwanted.add(key)
        limit_s = attempt.timeout_s
        if limit_s is not None:
            ends_us = claim.claimed_us + round((limit_s + GRACE_S + SLACK_S) * 1e6)
            if self._clock.now_us() > ends_us:  # it should have said so itself
                self._unwanted.add(key)
                self._end(key, asked, attempt.overdue(still_running=True))

    def _end(self, key: AttemptKey, asked: _Asked, outcome: Outcome) -> None:
        del self._asked[key]
        asked.done(outcome)


def queue_of(attempt: Attempt) -> str:
    """Where workers are asked for it."""
    task = attempt.node.task
    assert task is not None
    return task.queue


def parcel(key: AttemptKey, call: int) -> str:
    """What the encryption of a request that is kept in the store is bound to."""
    return f"request {key.run_id} {key.phase}/{key.try_}/{key.attempt}/{call}/{key.path}"


def reference(key: AttemptKey, call: int, *, secret: bool) -> Reference:
    """What a message says of a request that is kept."""
    return Reference(
        kept=True, run=key.run_id, path=key.path, phase=key.phase, try_=key.try_, attempt=key.attempt, call=call,
        secret=secret,
    )  # fmt: skip


def _key(attempt: Attempt) -> AttemptKey:
    return AttemptKey(attempt.run_id, attempt.node.path, attempt.try_, attempt.attempt, attempt.phase)
