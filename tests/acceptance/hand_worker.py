"""A worker that does nothing by itself: a test takes requests, claims them, and says what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import msgspec

from flowledger import App
from flowledger.adapters.broker.consumer import Consumer
from flowledger.adapters.ids import new_ulid
from flowledger.adapters.keys import Key
from flowledger.core.portable import Reply, Request, Told, asked_of, encoded
from flowledger.events.claims import Ask, AttemptKey, Report, WorkerRow
from flowledger.events.failure import Failure
from flowledger.events.store import Store
from tests.postgres_server import wait_until


class HandWorker:
    """Consumes these queues of an app."""

    def __init__(self, app: App, store: Store, url: str, key: Key, queues: Sequence[str]) -> None:
        self.row = WorkerRow(new_ulid(), "bench", 1, app.name, tuple(queues), 1)
        self._claims = store.claims
        self._consumer = Consumer(url, app=app.name, queues=list(queues), keys=[key], prefetch=100)
        self._claims.join(self.row)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def take(self, *, claim: bool = True) -> Request:
        """The next request; by default claimed, which must be granted."""
        found: list[Request] = []

        def came() -> bool:
            for delivery in self._consumer.receive(0.2, 1):
                request = asked_of(delivery.content)
                assert isinstance(request, Request)
                delivery.ack()
                found.append(request)
            self._consumer.settle()
            return bool(found)

        wait_until(came, "nothing is asked")
        if claim:
            assert self.claim(found[0])
        return found[0]

    def claim(self, request: Request) -> bool:
        """Whether it is granted."""
        return self._claims.claim(self.row.id, [Ask(key_of(request), request.call)]) == [True]

    def returns(self, request: Request, value: Any) -> None:
        """The body returned this."""
        self.tell(request, Reply(kind="returned", content=msgspec.Raw(msgspec.json.encode(value))))

    def fails(self, request: Request, message: str) -> None:
        """The body raised."""
        failure = Failure(path=request.path, type="RuntimeError", message=message, kind="error")
        self.tell(request, Reply(kind="raised", failure=failure, again=True))

    def tell(self, request: Request, reply: Reply) -> None:
        """Report it."""
        told = Told(
            path=request.path, phase=request.phase, try_=request.try_, attempt=request.attempt, call=request.call,
            worker=self.row.id, reply=msgspec.Raw(encoded(reply)),
        )  # fmt: skip
        self._claims.report(self.row.id, [Report(key_of(request), request.call, encoded(told))])

    def dies(self) -> None:
        """Nobody will hear of it again."""
        self._claims.leave(self.row.id)


def key_of(request: Request) -> AttemptKey:
    return AttemptKey(request.run, request.path, request.try_, request.attempt, request.phase)
