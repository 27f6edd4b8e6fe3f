"""A worker with what it needs, as the settings of its app say."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flowledger.adapters.conductor.health import Verdict
from flowledger.adapters.executors.asking import broker_of
from flowledger.adapters.settings import Settings
from flowledger.core.registry import Registry
from flowledger.events.errors import InputError
from flowledger.events.store import Store

from .worker import Worker, queues_of


class Working:
    """Works from `start` until it has drained.

    Args:
        registry: the tasks.
        settings: broker, keys, and how many attempts at once unless ``concurrency`` says so.
        open_store: gives the store, and whether it is this worker's own to close.
        queues: which ones (None: those of all tasks of the app).
        concurrency: how many attempts at once.
        processes: where above 0, sync bodies run in so many child processes.
        app: names the app for those.

    Raises:
        InputError: there is no broker, no key, or nothing to do.
    """

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        open_store: Callable[[], tuple[Store, bool]],
        *,
        queues: Sequence[str] | None = None,
        concurrency: int | None = None,
        processes: int = 0,
        app: Callable[[], str],
    ) -> None:
        broker = broker_of(settings)
        if broker is None:
            raise InputError(
                "a worker needs a broker to take requests from, and none is set", field="broker_url",
                expected="the URL of a broker", given="none", hint="set FLOWLEDGER_BROKER_URL (docs/workers.md)",
            )  # fmt: skip
        named = list(queues_of(registry) if queues is None else queues)
        if not named:
            raise InputError(
                f"the app {registry.name} has no task that workers could make", field="queues",
                hint="define one with @app.task, or name the queues",
            )  # fmt: skip
        self.queues: Sequence[str] = named
        self._store, self._is_own = open_store()
        self._worker = Worker(
            registry, self._store, broker, queues=named, concurrency=concurrency or settings.threads,
            processes=processes, app=app,
        )  # fmt: skip

    @property
    def id(self) -> str:
        """The worker's name."""
        return self._worker.id

    @property
    def running(self) -> int:
        """How many attempts it is making."""
        return self._worker.running

    def start(self) -> None:
        """Begin to take requests; what it raises is `Worker.start`'s."""
        try:
            self._worker.start()
        except BaseException:
            self._close()
            raise

    def drain(self) -> None:
        """Take nothing more, and end once what is being made is over."""
        self._worker.drain()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; whether it has come."""
        if not self._worker.join(timeout_s):
            return False
        self._close()
        return True

    def alive(self) -> Verdict:
        """Whether the event loop turns."""
        return self._worker.alive()

    def ready(self) -> Verdict:
        """Whether it takes requests."""
        return self._worker.ready()

    def _close(self) -> None:
        if self._is_own:
            self._store.close()
