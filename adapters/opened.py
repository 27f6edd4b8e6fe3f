"""`Opened`: an app with its settings, its store and its engine, opened when first asked for."""

from __future__ import annotations

import atexit
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

from flowledger.core.vault import Codec
from flowledger.events.errors import IllegalRequest, RunNotFound
from flowledger.events.store import Stream

from . import loading
from .children import RunChildren
from .executors.given import Bounded, Source, given_executors
from .importing import refuse_while_imported
from .loading import Loaded
from .runtime import Runtime
from .settings import Settings, resolve
from .viewed import Viewed

if TYPE_CHECKING:
    from .views import Views


class Opened(Viewed):
    """What `App` is about the world around it. Making one touches nothing: no file, no connection."""

    def __init__(
        self, name: str, *, settings: Settings | None = None, database_url: str | None = None,
        codec: Codec | None = None, executors: Mapping[str, Source | Bounded] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name)
        self._codec = codec
        self._executors = given_executors(name, executors)
        self._settings = settings
        self._database_url = database_url
        self._options: Mapping[str, Any] = {}
        self._runtime: Runtime | None = None
        self._lock = Lock()

    @property
    def runtime(self) -> Runtime:
        """The store and the engine, opened when first asked for."""
        with self._lock:
            if self._runtime is None:
                refuse_while_imported(self.name)
                runtime = Runtime(
                    self.settings, registry=self,
                    listeners=self.listeners,
                    projections=self.projections if self.settings.views == "auto" else [], codec=self._codec,
                    executors=self._executors,
                )  # fmt: skip
                runtime.raise_children(RunChildren(runtime, self))
                self._runtime = runtime
                atexit.register(self.close)
            return self._runtime

    @property
    def has_workers(self) -> bool:
        """Whether there is a broker to ask workers through."""
        return self.settings.broker_url is not None

    @property
    def executor_names(self) -> Collection[str]:
        """The names of the executors that the app was given."""
        return self._executors.keys()

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
        self._close_views()
        if runtime is not None:
            atexit.unregister(self.close)
            runtime.close()
            self.listeners.drain()

    def living_runtime(self) -> Runtime:
        """The runtime, to own runs with; one that has been fenced may own nothing any more (B2), so another takes its
        place."""
        with self._lock:
            fenced = self._runtime
            if fenced is not None and fenced.heartbeat.fenced:
                self._runtime = None
                fenced.close()
        return self.runtime

    @property
    def history(self) -> Views:
        """Queries over all that has happened: `Views.runs`, `Views.attempts`, `Views.timeline`, `Views.audit` and more.

        Raises:
            StoreUnavailable, SchemaTooOld: the views cannot be opened.
        """
        return self._viewing(self.runtime.store)

    def stream_of(self, run_id: str) -> Stream:
        """The stream row of a run of this app.

        Raises:
            RunNotFound: there is none, or it is another app's.
        """
        stream = self.runtime.store.stream(run_id)
        if stream is None:
            where = self.runtime.store.describe()
            raise RunNotFound(f"app {self.name} has no run {run_id} in {where}", hint="`flowledger ls` lists the runs")
        if stream.app != self.name:
            raise RunNotFound(
                f"run {run_id} is one of the app {stream.app}, and this is the app {self.name}",
                hint=f"ask through the app {stream.app}: its App, or --app MODULE:APP (FLOWLEDGER_APP)",
            )
        return stream

    def has_gone_on(self, run_id: str, version: int) -> bool:
        """Whether a run is not where somebody has it in hand, as far as a log that is open tells."""
        runtime = self._runtime
        stream = None if runtime is None else runtime.store.stream(run_id)
        return stream is not None and stream.version != version

    def load_run(self, run_id: str, *, goes_on: bool = False) -> Loaded:
        """A run as its log says, verified and folded under today's plan; ``goes_on``: one under which it could go on.

        Raises:
            PlanDiffers: it is another plan than the run has history for (E8).
        """
        return loading.load(self.runtime, self, self.stream_of(run_id), goes_on=goes_on)
