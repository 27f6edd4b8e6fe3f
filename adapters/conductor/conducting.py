"""A conductor that goes on after its process was fenced: under a new name, with a new runtime (B2)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING

from flowledger.adapters.runtime import Runtime
from flowledger.core.registry import Registry
from flowledger.events.errors import Fenced, FlowledgerError

from .conductor import Conductor
from .health import Verdict

if TYPE_CHECKING:
    from flowledger.adapters.notifying.rules import Rule
    from flowledger.adapters.notifying.telling import Telling

#: A loop that has not turned for so long is reported (B4).
STUCK_S = 60.0
#: A conductor that has heard nothing of the board for so long is not ready.
UNHEARD_S = 10.0
#: Before it tries again to get a runtime.
PAUSE_S = 1.0

_LOG = logging.getLogger("flowledger.conductor")


class Conducting:
    """Conducts on a thread of its own, from `start` until it has drained.

    Args:
        registry: the flows it can run.
        open_runtime: the process's parts; called again after it has been fenced.
        queues: the queues it takes jobs from.
        max_runs: how many runs it drives at once.
        rules: who is told of what by this process, as long as it conducts.
    """

    def __init__(
        self, registry: Registry, open_runtime: Callable[[], Runtime], *, queues: Sequence[str], max_runs: int,
        rules: Sequence[Rule] = (),
    ) -> None:  # fmt: skip
        self._registry = registry
        self._open_runtime = open_runtime
        self._queues = tuple(queues)
        self._max_runs = max_runs
        self._rules = rules
        self._telling: Telling | None = None
        self._draining = Event()
        self._runtime: Runtime | None = None
        self._conductor: Conductor | None = None
        self._turned_at = monotonic()
        self._thread = Thread(target=self._conduct_on, name="flowledger-conductor", daemon=True)

    def start(self) -> None:
        """Begin.

        Raises:
            FlowledgerError: the store cannot be opened, or the process cannot join.
        """
        self._take_part()
        self._thread.start()

    def drain(self) -> None:
        """Take no more jobs, and end once no body runs here. May be called from any thread, and again."""
        self._draining.set()
        self._tell_to_drain()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the end; whether it has come."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def runs(self) -> int:
        """How many runs it has."""
        return 0 if self._conductor is None else self._conductor.runs

    # -- for whoever watches --------------------------------------------------------------------

    def alive(self) -> Verdict:
        """Whether the event loop turns."""
        runtime = self._runtime
        if runtime is not None:
            runtime.loop.call_soon_threadsafe(self._turned)
        age_s = monotonic() - self._turned_at
        if age_s > STUCK_S:
            return Verdict(good=False, why=f"the event loop has not turned for {age_s:.0f} s: a task body blocks it")
        return Verdict(good=True, why="alive")

    def ready(self) -> Verdict:
        """Whether it takes jobs. It is ready also where workers cannot be asked: runs that need none go on."""
        runtime, conductor = self._runtime, self._conductor
        if self._draining.is_set():
            return Verdict(good=False, why="draining")
        if runtime is None or conductor is None or runtime.heartbeat.fenced:
            return Verdict(good=False, why="fenced: it could not reach the store in time and joins again")
        unheard_s = monotonic() - conductor.heard_at
        if unheard_s > UNHEARD_S and conductor.has_room:
            return Verdict(good=False, why=f"the job board has not answered for {min(unheard_s, 9999):.0f} s")
        warnings = "".join(f"; warning: {each}" for each in runtime.complaints())
        return Verdict(good=True, why=f"ready, {conductor.runs} runs{warnings}")

    def _turned(self) -> None:
        self._turned_at = monotonic()

    # -- on the thread --------------------------------------------------------------------------

    def _take_part(self) -> None:
        self._tell_no_more()
        self._runtime = self._open_runtime()
        self._conductor = Conductor(self._runtime, self._registry, queues=self._queues, max_runs=self._max_runs)
        _LOG.info(
            "conductor %s of app %s takes jobs from %s", self._runtime.owner, self._registry.name,
            ", ".join(self._queues),
        )  # fmt: skip
        self._tell()

    def _tell(self) -> None:
        """Most apps have nobody told, and need not load what tells."""
        if self._rules and self._runtime is not None:
            from flowledger.adapters.notifying.telling import Telling  # noqa: PLC0415

            self._telling = Telling(
                self._runtime.store, self._registry.name, self._rules, watch=self._runtime.watch
            )  # fmt: skip
            self._telling.start()
            _LOG.info("telling %s", ", ".join(f"{rule.name} ({rule.channel.describe()})" for rule in self._rules))

    def _tell_no_more(self) -> None:
        telling, self._telling = self._telling, None
        if telling is not None:
            telling.close()

    def _conduct_on(self) -> None:
        try:
            self._conduct_until_drained()
        finally:
            self._tell_no_more()

    def _conduct_until_drained(self) -> None:
        while True:
            try:
                if self._conduct():
                    return
            except Fenced as error:
                _LOG.error("fenced: %s", error)
            except FlowledgerError as error:
                _LOG.error("the conductor cannot go on yet: %s", error)
            self._conductor = None
            if self._draining.wait(PAUSE_S):
                return

    def _conduct(self) -> bool:
        """True: it has drained."""
        if self._conductor is None:
            self._take_part()
        runtime, conductor = self._runtime, self._conductor
        assert runtime is not None
        assert conductor is not None
        future = runtime.call(conductor.run())
        if self._draining.is_set():
            self._tell_to_drain()
        future.result()
        return True

    def _tell_to_drain(self) -> None:
        runtime, conductor = self._runtime, self._conductor
        if runtime is not None and conductor is not None and not runtime.loop.is_closed():
            runtime.loop.call_soon_threadsafe(conductor.drain)
