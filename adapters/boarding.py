"""`Boarding`: an app's side of the job board: runs put there, and conductors that take them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from flowledger.core.compiler import check_executors, entry, rebuild
from flowledger.core.compiler import compile as compile_part
from flowledger.core.context import refuse_inside_body
from flowledger.core.options import Executor
from flowledger.core.parts import Part
from flowledger.events.board import DEFAULT_QUEUE
from flowledger.events.facts import OnFailure
from flowledger.events.store import Store

from . import driving, submitting
from .acting import Acting
from .driving import Wish
from .importing import name_of
from .run import Run
from .settings import Settings
from .stores import open_store

if TYPE_CHECKING:
    from .conductor import Conducting
    from .worker import Working

T = TypeVar("T")

#: How often who waits for a worker to drain looks up.
_JOIN_S = 1.0


class Boarding(Acting):
    """Submitting runs, and conducting them."""

    def submit(
        self,
        part: Part[T],
        *,
        key: str | None = None,
        tags: Mapping[str, str] | None = None,
        queue: str = DEFAULT_QUEUE,
        priority: int = 0,
        not_before: datetime | None = None,
        connection: Any = None,
    ) -> Run[T]:
        """Put a run on the job board; a conductor drives it (or `Run.wait`, `Run.resume`, where there is none).

        The same ``key`` again gives the same run. ``priority``: higher first, then oldest; ``not_before``: a time with
        its zone, before which nobody claims it. ``connection``: SQLAlchemy's or psycopg's, to the database of the log
        and in a transaction: the run is there if that is committed, and never was if it is rolled back (the outbox).

        Raises:
            DefinitionError, InputError: nothing has been written.
            KeyConflict: the key belongs to other inputs.
        """
        wish = self.wish(part, key=key, tags=tags, on_failure=None, executor=None)
        submitting.check_job(queue=queue, priority=priority, not_before=not_before)
        runtime = self.living_runtime()
        wish = driving.ready(runtime, wish)
        append = submitting.submission(
            runtime.services, self.name, wish, queue=queue, priority=priority, not_before=not_before
        )
        return Run(self, submitting.submit(runtime.store, append, connection=connection), key)

    async def asubmit(
        self,
        part: Part[T],
        *,
        key: str | None = None,
        tags: Mapping[str, str] | None = None,
        queue: str = DEFAULT_QUEUE,
        priority: int = 0,
        not_before: datetime | None = None,
        connection: Any = None,
    ) -> Run[T]:
        """`submit` for a caller that must not block. A ``connection`` is used on the caller's own thread."""

        def submit() -> Run[T]:
            return self.submit(
                part, key=key, tags=tags, queue=queue, priority=priority, not_before=not_before, connection=connection
            )

        return submit() if connection is not None else await asyncio.to_thread(submit)

    def submit_named(
        self,
        flow: str,
        inputs: Mapping[str, Any],
        *,
        key: str | None = None,
        tags: Mapping[str, str] | None = None,
        queue: str = DEFAULT_QUEUE,
        priority: int = 0,
        not_before: datetime | None = None,
        connection: Any = None,
    ) -> Run[Any]:
        """`submit` for a flow or task that is known by its registered name, with inputs as JSON knows them.

        Raises:
            FlowNotRegistered: the app has none of this name.
            InputError: an input is missing, unknown, or does not fit.
        """
        part = rebuild(self, flow, submitting.as_json(inputs, flow))
        return self.submit(
            part, key=key, tags=tags, queue=queue, priority=priority, not_before=not_before, connection=connection
        )

    def conducting(self, *, queues: Sequence[str] = (DEFAULT_QUEUE,)) -> Conducting:
        """A conductor of this app, to be started: it takes jobs of these queues from the board and drives them.

        Raises:
            InputError: a queue has no name.
        """
        from .conductor import Conducting  # noqa: PLC0415 - loads a server of health

        submitting.check_queues(queues)
        settings = self.settings
        return Conducting(
            self, self.living_runtime, queues=queues, max_runs=settings.max_runs,
            rules=self.notifications if settings.notices == "auto" else (),
        )  # fmt: skip

    @asynccontextmanager
    async def conductor(self, *, queues: Sequence[str] = (DEFAULT_QUEUE,)) -> AsyncGenerator[None]:
        """Conduct while the context lasts, in this process (e.g. in a web server's lifespan); then drain.

        Raises:
            StoreError: the store cannot be opened.
        """
        conducting = self.conducting(queues=queues)
        await asyncio.to_thread(conducting.start)
        try:
            yield
        finally:
            conducting.drain()
            await asyncio.to_thread(conducting.join)

    def working(
        self, *, queues: Sequence[str] | None = None, concurrency: int | None = None, processes: int = 0
    ) -> Working:
        """A worker of this app, to be started: it makes tasks that engines ask for through the broker.

        ``queues``: which ones (None: those of all tasks of the app); ``concurrency``: how many attempts at once
        (None: as many as `Settings.threads`); ``processes``: sync bodies run in so many child processes instead.

        Raises:
            InputError: there is no broker, no key to verify messages with, or no task; or a queue has no name.
        """
        from .worker import Working  # noqa: PLC0415 - loads what speaks to a broker

        submitting.check_queues(queues or ())
        settings = self.settings
        return Working(
            self, settings, lambda: self._workers_store(settings), queues=queues, concurrency=concurrency,
            processes=processes, app=lambda: name_of(self),
        )  # fmt: skip

    @contextmanager
    def worker(
        self, *, queues: Sequence[str] | None = None, concurrency: int | None = None, processes: int = 0
    ) -> Generator[Working]:
        """Work while the context lasts, in this process; then drain. For tests, and for embedding."""
        working = self.working(queues=queues, concurrency=concurrency, processes=processes)
        working.start()
        try:
            yield working
        finally:
            working.drain()
            while not working.join(_JOIN_S):
                pass

    def _workers_store(self, settings: Settings) -> tuple[Store, bool]:
        """A log in memory is that of the app itself; of another a worker has its own connections."""
        if settings.database_url.startswith("memory:"):
            return self.living_runtime().store, False
        return open_store(settings.database_url, schema=settings.database_schema), True

    # -- inside ---------------------------------------------------------------------------------

    def wish(
        self, part: Part[Any], *, key: str | None, tags: Mapping[str, str] | None, on_failure: OnFailure | None,
        executor: Executor | None,
    ) -> Wish:  # fmt: skip
        refuse_inside_body("run()")
        submitting.check_wish(key=key, tags=tags, on_failure=on_failure)
        plan = compile_part(part, self, executor=executor)
        check_executors(plan, self)
        if plan.executors or "processes" in plan.lanes:
            name_of(self)  # refused now, and not by the first child
        root = entry(part, self)
        return Wish(
            plan=plan, factory=root.factory, inputs=root.inputs_json(), key=key, tags=dict(tags or {}),
            on_failure=on_failure or plan.on_failure, executor=executor,
        )  # fmt: skip
