"""What workers have been asked for and nobody has begun, by queue: told to the store, and where it lasts to the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final, NamedTuple

from flowledger.core.ports import Clock
from flowledger.events.claims import AttemptClaims, Unclaimed

#: What has waited for so long is told to the store, for `workers ls` and `why`.
TELL_S: Final = 5.0
#: When it is said in the log that nobody takes what is asked for.
UNCLAIMED_S: Final = 30.0

_LOG = logging.getLogger("flowledger.workers")


class Line(NamedTuple):
    """How many wait on a queue; the oldest for ``waits_s`` seconds."""

    waiting: int
    waits_s: float


class WaitingQueues:
    """The queues of one engine on which something waits. Its methods are called on the loop, one after the other.

    Args:
        claims: where it is told, and who works.
        owner: the engine's id as an owner.
        app: whose queues they are.
        clock: store time.
    """

    def __init__(self, claims: AttemptClaims, *, owner: str, app: str, clock: Clock) -> None:
        self._claims = claims
        self._owner = owner
        self._app = app
        self._clock = clock
        self._told: Mapping[str, int] = {}
        self._slow: set[str] = set()  # served, and waited for all the same
        #: Queues with something on them that no worker which lives takes, and how they stood when last looked at.
        self.unserved: Mapping[str, Line] = {}

    async def look(self, lines: Mapping[str, Line]) -> None:
        """See how things stand.

        Raises:
            StoreError: it is not known; what was said of it holds.
        """
        await self._tell({queue: line for queue, line in lines.items() if line.waits_s >= TELL_S})
        late = {queue: line for queue, line in lines.items() if line.waits_s >= UNCLAIMED_S}
        workers = await asyncio.to_thread(self._claims.workers, self._app) if late or self.unserved else []
        serving = {queue: sum(each.serves(self._app, queue) for each in workers) for queue in {*late, *self.unserved}}
        self._say({queue: line for queue, line in late.items() if not serving[queue]}, serving)
        self._say_slow({queue: line for queue, line in late.items() if serving[queue]}, serving)

    async def _tell(self, lines: Mapping[str, Line]) -> None:
        counts = {queue: line.waiting for queue, line in lines.items()}
        if counts == self._told:
            return
        now_us = self._clock.now_us()
        said = [Unclaimed(queue, each.waiting, now_us - round(each.waits_s * 1e6)) for queue, each in lines.items()]
        await asyncio.to_thread(self._claims.say_unclaimed, self._owner, said)
        self._told = counts

    def _say(self, unserved: Mapping[str, Line], serving: Mapping[str, int]) -> None:
        """Once per queue, until that changes."""
        for queue in sorted(unserved.keys() - self.unserved.keys()):
            _LOG.warning(
                "no worker that lives takes queue %s of app %s: %d attempts wait, the oldest for %.0f s", queue,
                self._app, *unserved[queue],
            )  # fmt: skip
        for queue in sorted(self.unserved.keys() - unserved.keys()):
            if serving[queue]:
                _LOG.info("queue %s of app %s is taken again, by %d workers", queue, self._app, serving[queue])
        self.unserved = unserved

    def _say_slow(self, slow: Mapping[str, Line], serving: Mapping[str, int]) -> None:
        for queue in sorted(slow.keys() - self._slow):
            _LOG.info(
                "%d workers take queue %s of app %s, and %d attempts wait, the oldest for %.0f s",
                serving[queue], queue, self._app, *slow[queue],
            )  # fmt: skip
        self._slow = set(slow)
