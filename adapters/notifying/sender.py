"""Sending notices: durable, in the order of the log, at least once, retried with growing pauses.

What is due is read from the views; how far each rule has come is a row beside them that no rebuild touches. A sender
first takes a rule for `LEASE_S` (in a transaction of its own), then sends, then writes down that it is done: one that
dies between the last two sends the notice again, under the same id. One notice waits behind the other of its rule; one
that cannot be delivered for `GIVE_UP` attempts is given up, and said.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, Final

from flowledger.events.envelope import Envelope
from flowledger.events.errors import StoreError, ViewsMissing
from flowledger.events.store import LIVE, Store
from flowledger.projections.history import HISTORY
from flowledger.projections.history.tables import NOTICES, RUNS
from flowledger.projections.projection import Projection
from flowledger.projections.query import parse
from flowledger.projections.rows import Changes, Rows
from flowledger.projections.selecting import Compares, IsIn, Select
from flowledger.projections.tables import Key, Row, Table
from flowledger.projections.view_store import Slot, ViewStore

from .channels import NotDelivered
from .rules import Rule

#: How long a sender may take over one notice before another one may take the rule.
LEASE_S: Final = 60
#: Pauses after failed attempts, in seconds; the last one again and again.
PAUSES_S: Final = (1, 5, 30, 120, 600, 3600)
GIVE_UP: Final = 30
#: How often it is looked for runs that are stuck, at most.
STUCK_LOOK_S: Final = 30.0
#: A rule that is new tells of what has happened in the last hour, not of all history.
LOOK_BACK_S: Final = 3600
#: How often it is tried to write down what was sent, each for the time that the database waits for others.
_PUT_ATTEMPTS: Final = 5
#: Rows that one look goes through.
_WINDOW: Final = 500

_LOG: Final = logging.getLogger("flowledger.notifying")
_S: Final = 1_000_000


def _nothing_folded(rows: Rows, envelope: Envelope) -> None:
    """Deliveries do not come from the log."""


#: How far a rule is: ``upto`` the number of the last notice that is done with.
PROGRESS: Final = Table(
    "progress",
    key={"rule": str},
    columns={"since_us": int, "upto": int, "attempts": int, "next_us": int, "lease_us": int, "error": str | None},
)
#: A run that a rule has called stuck, at which version.
STUCK: Final = Table("stuck", key={"rule": str, "run_id": str}, columns={"version": int})
#: What did not come from the log and is to be told.
REPORTS: Final = Table(
    "reports", key={"rule": str, "id": str}, columns={"run_id": str, "kind": str, "time_us": int, "text": str}
)
#: Not a projection: nothing of the log is folded into it. It only lives where they do.
DELIVERIES: Final = Projection("deliveries", 1, (PROGRESS, STUCK, REPORTS), _nothing_folded)


class Sender:
    """Sends what the rules of an app say. One thread at a time; several processes may have one each."""

    def __init__(self, store: Store, views: ViewStore, app: str, rules: Sequence[Rule]) -> None:
        self.sent = 0
        self._store = store
        self._views = views
        self._app = app
        self._rules = rules
        self._stuck_looks_us: dict[str, int] = {}  # when the next look is, by rule
        self._slot = views.make(DELIVERIES, number=1, live=True)

    def round(self) -> int:
        """Send at most one notice of each rule; how many were sent.

        Raises:
            StoreUnavailable
        """
        return sum(self._serve(rule) for rule in self._rules)

    def report(self, *, id: str, run_id: str, text: str) -> None:  # noqa: A002 - the id of the report
        """Have all rules that want it told that a verification failed; once per ``id``."""
        now_us = self._store.now_us()
        for rule in self._rules:
            if "verify-failed" in rule.on:
                row = REPORTS.new((rule.name, id))
                row.update(run_id=run_id, kind="verify-failed", time_us=now_us, text=text)
                self._write(REPORTS, [row])

    # -- one rule -------------------------------------------------------------------------------

    def _serve(self, rule: Rule) -> bool:
        now_us = self._store.now_us()
        if self._is_idle(rule, now_us):
            return False
        progress = self._taken(rule, now_us)
        if progress is None:
            return False
        found = self._due(rule, progress, now_us)
        done: list[tuple[Table, Row]] = []
        gone: list[tuple[Table, Key]] = []
        if found is not None:
            notice, done, gone = found
            if not self._send(rule, notice, progress, now_us):
                done, gone = [], []
        self._settle(progress | {"lease_us": 0}, done, gone)
        return bool(done or gone)

    def _is_idle(self, rule: Rule, now_us: int) -> bool:
        """Whether there is nothing to write for this rule, found by reading alone: several look, again and again."""
        rows = self._views.select(DELIVERIES.name, Select(PROGRESS, (IsIn("rule", (rule.name,)),), limit=1))
        if not rows:
            return False
        [progress] = rows
        if _is_held(progress, now_us):
            return True
        upto = progress["upto"]
        return self._due(rule, progress, now_us) is None and progress["upto"] == upto

    def _due(self, rule: Rule, progress: Row, now_us: int) -> Any:
        """The next notice of a rule, the rows to write once it is sent, and the keys to delete; None: there is none."""
        return self._reported(rule) or self._noticed(rule, progress) or self._stuck(rule, now_us)

    def _send(self, rule: Rule, notice: dict[str, Any], progress: Row, now_us: int) -> bool:
        """Whether the notice is done with: delivered, or given up."""
        try:
            rule.channel.send(notice, now_s=now_us // _S)
        except Exception as error:  # noqa: BLE001 - a channel may be the app's own
            progress["attempts"] += 1
            progress["error"] = _said(error)
            again = error.again if isinstance(error, NotDelivered) else True
            if again and progress["attempts"] < GIVE_UP:
                attempts: int = progress["attempts"]
                pause = PAUSES_S[min(attempts, len(PAUSES_S)) - 1]
                progress["next_us"] = now_us + pause * _S
                _LOG.warning("notification %s: %s; again in %d s", rule.name, progress["error"], pause)
                return False
            said = progress["error"]
            _LOG.error("notification %s: %s of run %s is given up: %s", rule.name, notice["kind"], notice["run"], said)
        else:
            self.sent += 1
            progress["error"] = None
        progress["attempts"], progress["next_us"] = 0, 0
        return True

    # -- what is due ----------------------------------------------------------------------------

    def _reported(self, rule: Rule) -> Any:
        rows = self._views.select(DELIVERIES.name, Select(REPORTS, (IsIn("rule", (rule.name,)),), limit=1))
        if not rows:
            return None
        [row] = rows
        notice = self._notice(row["id"], row["kind"], row["time_us"], row["run_id"], 0, "", row["text"])
        return notice, [], [(REPORTS, (rule.name, row["id"]))]

    def _noticed(self, rule: Rule, progress: Row) -> Any:
        """The next notice that the rule wants; those it does not want are passed over."""
        while True:
            where = (Compares("number", ">", progress["upto"]),)
            rows = self._history(Select(NOTICES, where, order=("number",), limit=_WINDOW))
            for row in rows:
                progress["upto"] = row["number"]
                wanted = row["time_us"] >= progress["since_us"] and row["kind"] in rule.on
                if wanted and self._fits(rule, row["run_id"]):
                    before = progress | {"upto": row["number"] - 1}
                    progress.update(before)
                    id_ = f"{row['run_id']}-{row['version']}"
                    notice = self._notice(
                        id_, row["kind"], row["time_us"], row["run_id"], row["version"], row["path"], row["text"]
                    )
                    return notice, [(PROGRESS, {"upto": row["number"]})], []
            if len(rows) < _WINDOW:
                return None

    def _stuck(self, rule: Rule, now_us: int) -> Any:
        """A live run without an event for too long, that has not been told of at this version and has no timer.

        Where there is none nobody looks again at once: runs that sleep are asked about one by one.
        """
        if "stuck" not in rule.on or now_us < self._stuck_looks_us.get(rule.name, 0):
            return None
        for row in self._silent(rule, now_us - round(rule.stuck_after_s * _S)):
            if not self._is_stuck(row, now_us):
                continue
            id_ = f"{row['run_id']}-{row['version']}-stuck"
            text = f"no event for {(now_us - row['updated_us']) // _S} s"
            notice = self._notice(id_, "stuck", row["updated_us"], row["run_id"], row["version"], "", text)
            return notice, [(STUCK, STUCK.new((rule.name, row["run_id"])) | {"version": row["version"]})], []
        self._stuck_looks_us[rule.name] = now_us + round(min(STUCK_LOOK_S, rule.stuck_after_s / 4) * _S)
        return None

    def _silent(self, rule: Rule, since_us: int) -> Iterator[Row]:
        """Live runs without an event since then that have not been told of as they stand."""
        states = ("PENDING", "RUNNING", "REVERTING", "SUSPENDING")
        where = (IsIn("state", states), Compares("updated_us", "<", since_us), *self._conditions(rule))
        after: Key | None = None
        while True:
            rows = self._history(Select(RUNS, where, order=("run_id",), after=after, limit=_WINDOW))
            told = self._told(rule, [row["run_id"] for row in rows])
            yield from (row for row in rows if told.get(row["run_id"]) != row["version"])
            if len(rows) < _WINDOW:
                return
            after = (rows[-1]["run_id"],)

    def _told(self, rule: Rule, run_ids: Sequence[str]) -> dict[str, int]:
        """Which of these runs have been told of, and at which version."""
        where = (IsIn("rule", (rule.name,)), IsIn("run_id", tuple(run_ids)))
        rows = self._views.select(DELIVERIES.name, Select(STUCK, where, limit=_WINDOW)) if run_ids else []
        return {row["run_id"]: row["version"] for row in rows}

    def _is_stuck(self, row: Row, now_us: int) -> bool:
        stream = self._store.stream(row["run_id"])
        if stream is None or stream.status not in LIVE or stream.version != row["version"]:
            return False
        return stream.wake_at_us is None or stream.wake_at_us <= now_us

    def _history(self, select: Select) -> list[Row]:
        """Rows of the views; none where nobody has projected yet."""
        try:
            return self._views.select(HISTORY.name, select)
        except ViewsMissing:
            return []

    def _fits(self, rule: Rule, run_id: str) -> bool:
        where = (IsIn("run_id", (run_id,)), *self._conditions(rule))
        return bool(self._history(Select(RUNS, where, limit=1, columns=("run_id",))))

    def _conditions(self, rule: Rule) -> tuple[Any, ...]:
        return IsIn("app", (self._app,)), *parse(rule.query).conditions(self._store.now_us())

    def _notice(
        self, id_: str, kind: str, time_us: int, run_id: str, version: int, path: str, text: str
    ) -> dict[str, Any]:
        rows = self._history(Select(RUNS, (IsIn("run_id", (run_id,)),), limit=1))
        run: Row = rows[0] if rows else RUNS.new((run_id,))
        return {
            "id": id_, "kind": kind, "time_us": time_us, "app": run["app"], "flow": run["flow"], "run": run_id,
            "event": version, "state": run["state"], "key": run["key"], "at": path, "text": text,
        }  # fmt: skip

    # -- rows -----------------------------------------------------------------------------------

    def _taken(self, rule: Rule, now_us: int) -> Row | None:
        """The rule's row, taken for a while; None while another sender has it, or before the next attempt is due."""
        with self._views.turn(DELIVERIES, self._slot) as turn:
            if turn is None:
                return None
            row = turn.load(PROGRESS, [(rule.name,)]).get((rule.name,))
            if row is None:
                row = PROGRESS.new((rule.name,)) | {"since_us": now_us - LOOK_BACK_S * _S}
            if _is_held(row, now_us):
                return None
            row["lease_us"] = now_us + LEASE_S * _S
            turn.write([_change(PROGRESS, [row])])
            return dict(row)

    def _settle(self, progress: Row, done: list[tuple[Table, Row]], gone: list[tuple[Table, Key]]) -> None:
        changes = {table.name: Changes(table) for table in DELIVERIES.tables}
        for table, row in done:
            if table is PROGRESS:
                progress.update(row)
            else:
                changes[table.name].rows[tuple(row[name] for name in table.key_names)] = row
        for table, key in gone:
            changes[table.name].gone.add(key)
        changes[PROGRESS.name].rows[progress["rule"],] = progress
        self._put(list(changes.values()))

    def _write(self, table: Table, rows: list[Row]) -> None:
        self._put([_change(table, rows)])

    def _put(self, changes: list[Changes]) -> None:
        """Write; where others keep us from it for long, the notice may be sent again."""
        for _ in range(_PUT_ATTEMPTS):
            with self._views.turn(DELIVERIES, self._slot) as turn:
                if turn is not None:
                    turn.write(changes)
                    return
        raise StoreError("what was sent could not be written down: others are writing to the views without end")

    @property
    def slot(self) -> Slot:
        """Where deliveries are kept."""
        return self._slot


def _is_held(progress: Row, now_us: int) -> bool:
    """Whether another sender has the rule, or its next attempt is not due."""
    return bool(progress["lease_us"] > now_us or progress["next_us"] > now_us)


def _said(error: Exception) -> str:
    """An error in one line; of one that no channel ought to raise, its type."""
    return (str(error) if isinstance(error, NotDelivered) else f"{type(error).__name__}: {error}")[:500]


def _change(table: Table, rows: list[Row]) -> Changes:
    change = Changes(table)
    change.rows = {tuple(row[name] for name in table.key_names): row for row in rows}
    return change
