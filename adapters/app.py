"""`App`: a registry of tasks, flows and resources, and the way to run them.

opened.py    settings, store and engine
requesting.py what may be asked of a run that is under way
acting.py    what may be done with a run that is there
boarding.py  the job board: submitting and conducting
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

from flowledger.core.compiler import check_executors
from flowledger.core.compiler import compile as compile_part
from flowledger.core.engine.active import Observer
from flowledger.core.engine.run import RunDriver
from flowledger.core.options import Executor
from flowledger.core.parts import Part
from flowledger.core.plan import Plan
from flowledger.events.errors import InputError
from flowledger.events.facts import OnFailure

from . import driving
from .batch import Batch, suspend
from .boarding import Boarding
from .requesting import interruptible
from .run import Run

T = TypeVar("T")

AT_ONCE = 500  # runs of one `run_many` side by side: enough to share commits, few enough to keep in memory


class App(Boarding):
    """Tasks, flows and resources under one name, and the store their runs are kept in.

    Making one touches nothing: no file, no connection. The first run opens the store and starts the engine's thread.
    ``database_url`` (or ``settings``) says where the log is: ``memory://``, ``sqlite:///flowledger.db`` (the default).
    ``codec`` turns the bytes of all values of new runs into those that are stored, and back (encryption by a service).
    ``executors`` are places for bodies beside those that are always there, by the name that ``executor=`` says: an
    executor of `concurrent.futures` (which stays yours to shut down), or a function that makes one (docs/executors.md).
    """

    # -- running --------------------------------------------------------------------------------

    def run(
        self,
        part: Part[T],
        *,
        key: str | None = None,
        tags: Mapping[str, str] | None = None,
        on_failure: OnFailure | None = None,
        executor: Executor | None = None,
        check: bool = True,
    ) -> Run[T]:
        """Run a flow or a bound task here and now, until it has ended or ^C suspends it.

        The same ``key`` again: an unfinished run goes on where it was (kill -9 and run again), a finished one gives its
        result, other inputs are refused. ``check`` raises unless the run SUCCEEDED. ``executor``: where all its sync
        bodies run, whatever the tasks say.

        Raises:
            DefinitionError, InputError: nothing has been written.
            KeyConflict: the key belongs to other inputs.
            RunOwned: another live process drives the run.
            RunUnsuccessful: it did not succeed.
        """
        run = self.execute(part, key=key, tags=tags, on_failure=on_failure, executor=executor)
        if check:
            run.check()
        return run

    async def arun(
        self,
        part: Part[T],
        *,
        key: str | None = None,
        tags: Mapping[str, str] | None = None,
        on_failure: OnFailure | None = None,
        executor: Executor | None = None,
        check: bool = True,
    ) -> Run[T]:
        """`run` for a caller that must not block. Cancelling it suspends the run."""
        wish = self.wish(part, key=key, tags=tags, on_failure=on_failure, executor=executor)
        runtime = await asyncio.to_thread(self.living_runtime)
        drivers: list[RunDriver] = []
        future = runtime.call(driving.run(runtime, self, wish, drivers.append, None))
        try:
            loaded = await asyncio.shield(asyncio.wrap_future(future))
        except asyncio.CancelledError:
            suspend(runtime, drivers, "the caller was cancelled")
            raise
        run: Run[T] = Run(self, loaded.run_id, loaded.key, loaded)
        if check:
            run.check()
        return run

    def run_many(
        self,
        parts: Iterable[Part[T]],
        *,
        keys: Iterable[str | None] = (),
        tags: Mapping[str, str] | None = None,
        at_once: int = AT_ONCE,
        executor: Executor | None = None,
    ) -> list[Run[T]]:
        """Run many flows in this process, up to ``at_once`` side by side; all their events share commits.

        ``keys`` go with the parts, one each. Returns the runs in the order of the parts, however each ended: look at
        `Run.state`, or let `Run.result` raise. ^C suspends those that are under way and starts no more.

        Raises:
            DefinitionError, InputError: one of the parts is wrong, or there are more keys than parts; nothing has been
                written.
        """
        if type(at_once) is not int or at_once < 1:
            raise InputError(
                f"at_once={at_once!r}: expected a number from 1", field="at_once", expected="a number from 1",
                given=repr(at_once), hint=f"{AT_ONCE} is the default",
            )  # fmt: skip
        wishes = [
            self.wish(part, key=key, tags=tags, on_failure=None, executor=executor)
            for part, key in _with_keys(list(parts), list(keys))
        ]
        runtime = self.living_runtime()
        batch = Batch(runtime, self, at_once)
        every = interruptible(runtime.call(batch.run(wishes)), batch.suspend)
        return [Run(self, loaded.run_id, loaded.key, loaded) for loaded in every]

    def execute(
        self,
        part: Part[T],
        *,
        key: str | None = None,
        tags: Mapping[str, str] | None = None,
        on_failure: OnFailure | None = None,
        executor: Executor | None = None,
        observe: Observer | None = None,
    ) -> Run[T]:
        """`run` without the check; ``observe`` is told of all its events, once durable, on the engine's thread."""
        wish = self.wish(part, key=key, tags=tags, on_failure=on_failure, executor=executor)
        runtime = self.living_runtime()
        return self.driven(runtime, lambda started: driving.run(runtime, self, wish, started, observe))

    # -- looking --------------------------------------------------------------------------------

    def plan(self, part: Part[Any], *, executor: Executor | None = None) -> Plan:
        """Compile a flow: everything is bound, typed and checked, nothing is written."""
        plan = compile_part(part, self, executor=executor)
        check_executors(plan, self)
        return plan

    def get(self, run_id: str) -> Run[Any]:
        """The handle of a run.

        Raises:
            RunNotFound
        """
        stream = self.stream_of(run_id)
        return Run(self, stream.run_id, stream.key)

    def runs(self, query: str = "", *, limit: int = 50) -> Iterator[Run[Any]]:
        """This app's runs, newest first; with a ``query`` (docs/queries.md) those it holds for, as the views have them.

        Raises:
            InputError: the query cannot be read.
        """
        if query:
            yield from islice(self._found(query), limit)
            return
        for stream in self.runtime.store.streams(app=self.name, limit=limit):
            yield Run(self, stream.run_id, stream.key)

    def _found(self, query: str) -> Iterator[Run[Any]]:
        after: str | None = None
        while True:
            page = self.history.runs(query, after=after)
            yield from (Run(self, row.id, row.key) for row in page.items if row.app == self.name)
            after = page.next
            if after is None:
                return


def _with_keys(parts: list[Part[T]], keys: list[str | None]) -> Iterator[tuple[Part[T], str | None]]:
    if len(keys) > len(parts):
        raise InputError(
            f"there are {len(keys)} keys and {len(parts)} parts", field="keys", expected="one for each part",
            given=str(len(keys)),
        )  # fmt: skip
    return zip(parts, [*keys, *[None] * (len(parts) - len(keys))], strict=True)
