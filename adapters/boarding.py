"""`Boarding`: an app's side of the job board: runs put there, and conductors that take them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeVar

from flowledger.core.compiler import compile as compile_part
from flowledger.core.compiler import entry, rebuild
from flowledger.core.context import refuse_inside_body
from flowledger.core.parts import Part
from flowledger.events.board import DEFAULT_QUEUE
from flowledger.events.errors import InputError, NotSupported
from flowledger.events.facts import OnFailure

from . import driving, submitting
from .acting import Acting
from .conductor import Conducting
from .driving import ExecutorName, Wish
from .importing import name_of
from .run import Run

T = TypeVar("T")

KEY_CHARS = 200


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
        submitting.check_priority(priority)
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
        """A conductor of this app, to be started: it takes jobs of these queues from the board and drives them."""
        return Conducting(self, self.living_runtime, queues=queues, max_runs=self.settings.max_runs)

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

    # -- inside ---------------------------------------------------------------------------------

    def wish(
        self, part: Part[Any], *, key: str | None, tags: Mapping[str, str] | None, on_failure: OnFailure | None,
        executor: ExecutorName | None,
    ) -> Wish:  # fmt: skip
        refuse_inside_body("run()")
        _check_key(key)
        if executor not in (None, "inline", "threads", "processes", "workers"):
            raise NotSupported(
                f"executor={executor!r} is not part of this version",
                hint='use "threads" (the default), "processes", "workers" or "inline"',
            )
        plan = compile_part(part, self, executor=executor)
        if any(node.lane == "processes" for node in plan.nodes):
            name_of(self)  # refused now, and not by the first child
        root = entry(part, self)
        return Wish(
            part=part, plan=plan, factory=root.factory, inputs=root.inputs_json(), key=key, tags=dict(tags or {}),
            on_failure=on_failure or plan.on_failure, executor=executor,
        )  # fmt: skip


def _check_key(key: str | None) -> None:
    if key is not None and not 1 <= len(key) <= KEY_CHARS:
        raise InputError(
            f"key= must have 1 to {KEY_CHARS} characters",
            field="key",
            expected=f"1–{KEY_CHARS} characters",
            given=repr(key),
        )
