"""A run as it stood at some event: its state, its atoms, its symbols; one step forward, one step back (rule H4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from flowledger.core.inheriting import had
from flowledger.events.envelope import Envelope
from flowledger.events.errors import InputError
from flowledger.events.facts import RunForked, RunSubmitted
from flowledger.projections.run_view import RunView, plan_named
from flowledger.projections.symbols import Known, Moved, Symbols

from .history import History
from .sources import source_of


class Moment:
    """A run after one of its events: ``view`` its tree and state, ``event`` that event.

    Raises:
        InputError: the run has no such event.
        Tampered, IntegrityError, SchemaTooNew: its log cannot be read.
    """

    def __init__(self, history: History, run_id: str, version: int) -> None:
        self.run_id = run_id
        self.view = RunView(run_id)
        self.event: Envelope | None = None
        self._history = history
        self._symbols = Symbols()
        self._encrypted = False
        self._submitted: Envelope | None = None
        self._elsewhere: Mapping[str, bytes] = {}  # values that a fork's source has moved out
        self._left: Iterator[Envelope] = history.envelopes(run_id)
        while self.version < version:
            if not self.forward():
                raise InputError(
                    f"run {run_id} has events 1 to {self.version}, not {version}", field="version",
                    expected=f"1 to {self.version}", given=str(version),
                )  # fmt: skip

    @property
    def version(self) -> int:
        """The version of the last event taken in; 0 before the first."""
        return self.view.version

    @property
    def symbols(self) -> dict[str, list[Known]]:
        """What is known by name: inputs, results, values of retries. See `value`."""
        return self._symbols.all()

    def value(self, known: Known) -> bytes | None:
        """The JSON of a symbol's value; None where it has been moved out, and is encrypted or not there."""
        if isinstance(known.value, Moved):
            digest = known.value.digest
            own = self._history.store.payload(self.run_id, digest)
            if self._encrypted:
                return None if own is None else self._history.value(self.run_id, own)
            return self._elsewhere.get(digest) if own is None else own
        return known.value

    def forward(self) -> bool:
        """Take in the next event. False: there is none."""
        envelope = next(self._left, None)
        if envelope is None:
            return False
        self.event = envelope
        if isinstance(envelope.event, RunSubmitted):
            self._encrypted, self._submitted = envelope.event.codec is not None, envelope
        elif isinstance(envelope.event, RunForked) and self._submitted is not None:
            self._take_over([self._submitted, envelope])
        self._history.show(self.view, envelope)
        fingerprint = plan_named(envelope.event)
        document = None if fingerprint is None else self._history.store.plan(fingerprint)
        if document is not None:
            self._symbols.use(document)
        self._symbols.apply(envelope)
        return True

    def _take_over(self, begun: list[Envelope]) -> None:
        """Learn what a fork has from its source (G6)."""
        source = source_of(self._history.store, begun)
        self._symbols.take_over(had(begun, source=source.had))
        self._elsewhere = source.moved

    def back(self) -> Moment:
        """The run one event before; at the first it stays there."""
        return Moment(self._history, self.run_id, max(1, self.version - 1))


def version_at(history: History, run_id: str, time_us: int) -> int:
    """The last event of a run that had happened at a time (microseconds since the epoch, store time).

    Raises:
        InputError: nothing had.
    """
    version = 0
    first_us: int | None = None
    for envelope in history.envelopes(run_id):
        first_us = envelope.time_us if first_us is None else first_us
        if envelope.time_us > time_us:
            break
        version = envelope.version
    if not version:
        raise InputError(
            f"run {run_id} had not been submitted then", field="time", expected=f"{first_us} or later",
            given=str(time_us), hint=f"it was submitted at {_shown(first_us or 0)}",
        )  # fmt: skip
    return version


def _shown(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(timespec="milliseconds")
