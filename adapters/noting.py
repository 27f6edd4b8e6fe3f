"""Writing bodies' progress where others see it (rule F2), beside the log and never in the way of a body."""

from __future__ import annotations

from contextlib import suppress
from threading import Condition, Thread

from flowledger.core.ports import Clock
from flowledger.events.errors import StoreError
from flowledger.events.facts import Progress
from flowledger.events.progress import Note
from flowledger.events.store import Store

#: What is noted is written at most so often: of what a body says meanwhile, the last.
EVERY_S = 1.0

_Key = tuple[str, str, int, int]


class StoredNotes:
    """See `core.ports.ProgressNotes`. A thread of its own, once there is something to note.

    A store that is away costs notes, nothing else: each is worth something only until the next.
    """

    def __init__(self, store: Store, clock: Clock, *, worker: str, every_s: float = EVERY_S) -> None:
        self._worker = worker
        self._store = store
        self._clock = clock
        self._every_s = every_s
        self._changed = Condition()
        self._waiting: dict[_Key, Note] = {}
        self._over: list[str] = []
        self._closed = False
        self._thread: Thread | None = None

    def put(self, run_id: str, path: str, try_: int, attempt: int, progress: Progress) -> None:
        """See `ProgressNotes.put`."""
        key = (run_id, path, try_, attempt)
        with self._changed:
            self._waiting[key] = Note(*key, self._worker, progress.fraction, progress.message, self._clock.now_us())
            self._wake()

    def forget(self, run_id: str) -> None:
        """See `ProgressNotes.forget`."""
        with self._changed:
            for key in [key for key in self._waiting if key[0] == run_id]:
                del self._waiting[key]
            self._over.append(run_id)
            self._wake()

    def close(self) -> None:
        """Write what is left, then end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _wake(self) -> None:
        if self._thread is None and not self._closed:
            self._thread = Thread(target=self._run, name="flowledger-progress", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._over or self._closed)
                notes, over = list(self._waiting.values()), self._over
                self._waiting, self._over = {}, []
                if not notes and not over:
                    return
            with suppress(StoreError):
                if notes:
                    self._store.progress.write(notes)
                for run_id in over:
                    self._store.progress.forget(run_id, self._worker)
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._over, self._every_s)
