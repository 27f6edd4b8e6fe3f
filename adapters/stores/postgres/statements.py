"""The statements of the hot path, as text for one schema (rules A1 to A4, B7, G1)."""

from __future__ import annotations

from functools import cached_property, lru_cache

from .ready import ANY, NOW

_EVENT = "version, type, schema_version, path, time_us, actor, payload, hash"
_STREAM = (
    "run_id, app, factory, key, inputs_digest, tags, queue, priority, status, direction, wake_at_us, owner, epoch, "
    "version, head_hash, created_us"
)
#: The place of an event in the global log (A4); what stands before the dot keeps ORDER BY off the output's names.
_PLACE = "e.generation, e.xid, e.position"
_GENERATION = "(SELECT max(id) FROM {s}.generations)"

_SINGLE = """
WITH moved AS (
  UPDATE {s}.streams SET status = %b, direction = %b, wake_at_us = %b::int8, version = %b, head_hash = %b,
         owner = CASE WHEN %b THEN NULL ELSE owner END
   WHERE run_id = %b AND version = %b AND epoch = %b{if_seen} RETURNING run_id){answered}
INSERT INTO {s}.events (generation, run_id, {event})
SELECT {generation}, moved.run_id, e.* FROM moved, (VALUES {rows}) AS e"""
# Only in the statement of an append that answers mail, or that ends or suspends the run.
_SINGLE_IF_SEEN = " AND (%b::int8 IS NULL OR requests <= %b::int8)"
_SINGLE_ANSWERED = """,
answered AS (
  DELETE FROM {s}.inbox USING moved WHERE inbox.run_id = moved.run_id AND inbox.number = ANY (%b::int8[]))"""
_SINGLE_ROW = "(%b::int8, %b::text, %b::int4, %b::text, %b::int8, %b::text, %b::bytea, %b::bytea)"

# First the locks, in the order of run ids (A2); who waits for one then sees the row as it has become. They are counted,
# not joined: the plan is made for ten runs, and a join of what it cannot estimate would go through all pairs of them.
_ADVANCE = """
WITH a AS MATERIALIZED (
  SELECT * FROM unnest(%b::text[], %b::int8[], %b::int8[], %b::text[], %b::text[], %b::int8[], %b::int8[], %b::bytea[],
                       %b::int8[]{seen})
    AS a(run_id, expected, epoch, status, direction, wake_at_us, version, head_hash, release{seen_column})),
locked AS MATERIALIZED (
  SELECT s.run_id FROM {s}.streams s WHERE s.run_id = ANY (%b::text[]) ORDER BY s.run_id FOR NO KEY UPDATE),
moved AS (
  UPDATE {s}.streams s SET status = a.status, direction = a.direction, wake_at_us = a.wake_at_us, version = a.version,
         head_hash = a.head_hash, owner = CASE WHEN a.release = 1 THEN NULL ELSE s.owner END
    FROM a
   WHERE (SELECT count(*) FROM locked) >= 0
     AND s.run_id = a.run_id AND s.version = a.expected AND s.epoch = a.epoch{if_seen} RETURNING s.run_id),{answered}"""
_SEEN = {
    "seen": ", %b::int8[]",
    "seen_column": ", seen",
    "if_seen": " AND (a.seen IS NULL OR s.requests <= a.seen)",
    "answered": """
answered AS (
  DELETE FROM {s}.inbox i USING moved, unnest(%b::text[], %b::int8[]) AS d(run_id, number)
   WHERE i.run_id = d.run_id AND i.number = d.number AND moved.run_id = d.run_id),""",
}
_UNSEEN = dict.fromkeys(_SEEN, "")
_EVENTS = """
written AS (
  INSERT INTO {s}.events (generation, run_id, {event})
  SELECT {generation}, e.run_id, e.version, e.type, e.schema_version, e.path, e.time_us, e.actor, e.payload, e.hash
    FROM unnest(%b::text[], %b::int8[], %b::text[], %b::int8[], %b::text[], %b::int8[], %b::text[], %b::bytea[],
                %b::bytea[]) WITH ORDINALITY AS e(run_id, {event}, n)
    JOIN {accepted} USING (run_id) ORDER BY e.n)"""
_MANY = _ADVANCE + _EVENTS + "\nSELECT run_id FROM moved"

# In the order of keys, so that two processes that create the same ones wait for each other in one direction. A run that
# begets one is held until it is there: whoever claims it then finds the one, or has refused it by its epoch (G7).
_MADE = """
begetting AS MATERIALIZED (
  SELECT s.run_id, s.epoch FROM {s}.streams s WHERE s.run_id = ANY (%b::text[]) ORDER BY s.run_id FOR SHARE),
made AS (
  INSERT INTO {s}.streams ({stream})
  SELECT {stream} FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[],
                              %b::int8[], %b::text[], %b::text[], %b::int8[], %b::text[], %b::int8[], %b::int8[],
                              %b::bytea[], %b::int8[], %b::text[], %b::int8[])
    WITH ORDINALITY AS c({stream}, parent, parent_epoch, n)
   WHERE parent IS NULL OR (parent, parent_epoch) IN (SELECT run_id, epoch FROM begetting)
   ORDER BY app, key, factory, n
  ON CONFLICT DO NOTHING RETURNING run_id),
accepted AS MATERIALIZED (SELECT run_id FROM moved UNION ALL SELECT run_id FROM made),"""
_VALUES = """,
moved_out AS (
  INSERT INTO {s}.payloads (run_id, digest, content)
  SELECT p.* FROM unnest(%b::text[], %b::text[], %b::bytea[]) AS p(run_id, digest, content)
    JOIN accepted USING (run_id) ON CONFLICT DO NOTHING),
planned AS (
  INSERT INTO {s}.plans (fingerprint, document)
  SELECT p.fingerprint, p.document FROM unnest(%b::text[], %b::text[], %b::bytea[]) AS p(run_id, fingerprint, document)
    JOIN accepted USING (run_id) ORDER BY p.fingerprint ON CONFLICT DO NOTHING)
SELECT run_id FROM accepted"""
_FULL = _ADVANCE + _MADE + _EVENTS + _VALUES

_LOOK = """
SELECT a.run_id, s.epoch, s.version, s.requests, e.hash, k.run_id, p.epoch
  FROM unnest(%b::text[], %b::int8[], %b::text[], %b::text[], %b::text[], %b::text[])
    AS a(run_id, version, app, factory, key, parent)
  LEFT JOIN {s}.streams s ON s.run_id = a.run_id
  LEFT JOIN {s}.events e ON e.run_id = a.run_id AND e.version = a.version
  LEFT JOIN {s}.streams k ON k.app = a.app AND k.key = a.key AND k.factory = a.factory
  LEFT JOIN {s}.streams p ON p.run_id = a.parent"""

_READ = """
SELECT {event} FROM {s}.events WHERE run_id = %s AND version > %s ORDER BY version LIMIT %s::int8"""
# Below the horizon everything has ended, so nothing can still appear there. What an older generation holds came with
# a restore, all at once; the horizon of this cluster says nothing about its transaction ids.
_HORIZON = (
    "(SELECT max(id) AS generation, pg_snapshot_xmin(pg_current_snapshot()) AS xid FROM {s}.generations) AS horizon"
)
_READ_ALL = """
SELECT e.generation, e.xid::text AS xid_text, e.position, e.run_id, {event} FROM {s}.events e, {horizon}
 WHERE ({place}) > (%s, %s::xid8, %s) AND (e.generation, e.xid) < (horizon.generation, horizon.xid)
 ORDER BY {place} LIMIT %s"""
_NEWEST = """
SELECT newest.generation, newest.xid_text, newest.position,
       EXISTS (SELECT FROM {s}.events e WHERE (e.generation, e.xid) >= (horizon.generation, horizon.xid))
  FROM {horizon} LEFT JOIN LATERAL (
    SELECT e.generation, e.xid::text AS xid_text, e.position FROM {s}.events e
     WHERE (e.generation, e.xid) < (horizon.generation, horizon.xid)
     ORDER BY e.generation DESC, e.xid DESC, e.position DESC LIMIT 1) AS newest ON true"""
_HIDDEN = """
SELECT e.time_us, e.generation, e.xid::text AS xid_text, e.position FROM {s}.events e, {horizon}
 WHERE (e.generation, e.xid) >= (horizon.generation, horizon.xid) AND ({place}) <= (%s, %s::xid8, %s)
 ORDER BY {order} LIMIT 1"""
# Transaction ids of sessions have lost their epoch. What others do is shown to those only who may see it.
OLDEST = """
WITH oldest AS (SELECT mod(pg_snapshot_xmin(pg_current_snapshot())::text::numeric, 4294967296) AS id)
SELECT concat('process ', pid, ' (', coalesce(nullif(application_name, ''), 'unnamed'), ') in the database ', datname)
  FROM pg_stat_activity, oldest WHERE backend_xid::text::numeric = oldest.id
UNION ALL
SELECT concat('the prepared transaction ', gid, ' in the database ', database)
  FROM pg_prepared_xacts, oldest WHERE transaction::text::numeric = oldest.id"""
# One array with an item for each run that has mail, whatever else is asked in the same statement (B7).
_MAIL = """
SELECT coalesce(array_agg(ARRAY[m.owner, m.run_id, m.number]), '{{}}'::text[]) FROM (
  SELECT s.owner, i.run_id, max(i.number)::text AS number
    FROM {s}.inbox i JOIN {s}.streams s ON s.run_id = i.run_id
   WHERE s.owner = ANY (%(owners)s::text[]) GROUP BY s.owner, i.run_id) AS m"""

# First the locks, in the order of run ids (A2): then nobody else sends to these runs, or ends one.
_SEND = """
WITH m AS MATERIALIZED (
  SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::bytea[], %b::text[], %b::int8[]) WITH ORDINALITY
    AS m(run_id, id, kind, content, actor, live, n)),
locked AS MATERIALIZED (
  SELECT s.run_id, s.status, s.owner FROM {s}.streams s WHERE s.run_id = ANY (SELECT run_id FROM m)
   ORDER BY s.run_id FOR NO KEY UPDATE),
let_in AS MATERIALIZED (
  SELECT m.*, row_number() OVER (PARTITION BY m.run_id ORDER BY m.n) AS nth
    FROM m JOIN locked USING (run_id) WHERE m.live = 0 OR NOT locked.status = ANY (%b::text[])),
raised AS (
  UPDATE {s}.streams s SET requests = s.requests + c.count, wake_at_us =
         CASE WHEN s.owner IS NULL AND s.queue IS NOT NULL THEN 0 ELSE s.wake_at_us END
    FROM (SELECT run_id, count(*) AS count FROM let_in GROUP BY run_id) AS c
   WHERE s.run_id = c.run_id RETURNING s.run_id, s.requests - c.count AS before),
put AS (
  INSERT INTO {s}.inbox (run_id, number, id, kind, content, actor, time_us)
  SELECT l.run_id, raised.before + l.nth, l.id, l.kind, l.content, l.actor,
         (extract(epoch FROM clock_timestamp()) * 1000000)::int8
    FROM let_in l JOIN raised USING (run_id) ORDER BY l.n
  ON CONFLICT DO NOTHING)
SELECT run_id, status, owner,
       CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END
  FROM locked"""
_INBOX = """
SELECT s.requests, i.number, i.id, i.kind, i.content, i.actor, i.time_us
  FROM {s}.streams s LEFT JOIN {s}.inbox i ON i.run_id = s.run_id AND i.number > %s
 WHERE s.run_id = %s ORDER BY i.number"""


class Statements:
    """The texts for one schema, whose name needs no quotes (`location`)."""

    def __init__(self, schema: str) -> None:
        self._schema = schema
        self.single = lru_cache(maxsize=None)(self._single)
        self.many = lru_cache(maxsize=None)(self._many)
        self.full = lru_cache(maxsize=None)(self._full)
        self.poll = lru_cache(maxsize=None)(self._poll)

    def _single(self, events: int, *, mail: bool) -> str:
        """Append ``events`` events to one stream. As many rows are inserted, or none where it is refused.

        ``mail``, here and below: it answers mail, or depends on what mail there is.
        """
        answered = self._for(_SINGLE_ANSWERED) if mail else ""
        if_seen = _SINGLE_IF_SEEN if mail else ""
        return self._for(_SINGLE, rows=", ".join([_SINGLE_ROW] * events), if_seen=if_seen, answered=answered)

    def _many(self, *, mail: bool) -> str:
        """Append to many streams; gives the run ids of those that were not refused."""
        return self._for(_MANY, accepted="moved", **self._seen(mail=mail))

    def _full(self, *, mail: bool) -> str:
        """`many`, with new streams, payloads and plans."""
        return self._for(_FULL, accepted="accepted", **self._seen(mail=mail))

    def _seen(self, *, mail: bool) -> dict[str, str]:
        return {name: part.format(s=self._schema) for name, part in (_SEEN if mail else _UNSEEN).items()}

    @cached_property
    def send(self) -> str:
        """Put mail into inboxes; gives status and owner of each run that there is."""
        return self._for(_SEND)

    @cached_property
    def inbox(self) -> str:
        """How much mail a run has been sent, and what of it waits; one row without mail where nothing does."""
        return self._for(_INBOX)

    @cached_property
    def look(self) -> str:
        """Where runs stand: epoch, version, the hash at one version; who holds a key, and the epoch of the parent."""
        return self._for(_LOOK)

    @cached_property
    def read(self) -> str:
        """Events of one stream after a version."""
        return self._for(_READ)

    @cached_property
    def read_all(self) -> str:
        """Events of all streams after a place, up to the horizon."""
        return self._for(_READ_ALL)

    @cached_property
    def hidden(self) -> str:
        """The first event up to a place that the horizon hides: its time, its place."""
        return self._for(_HIDDEN, order=_PLACE)

    @cached_property
    def last_hidden(self) -> str:
        """The last of them."""
        return self._for(_HIDDEN, order=_PLACE.replace(",", " DESC,") + " DESC")

    def _poll(self, *, log: bool, mail: bool, offers: int) -> str:
        """All that a process wants to know once a second (B7), as columns of one row.

        ``log``: the last place below the horizon (three), and whether there is anything beyond it. ``mail``: which runs
        of the owners given have mail, an array of owner, run id, number. Then whether there is a job for each of so
        many ``offers`` (`ready.asked` with ``_0``, ``_1``…).
        """
        asked = [_NEWEST] * log + [_MAIL] * mail + [f"SELECT {ANY.replace('{n}', f'_{n}')}" for n in range(offers)]
        return f"SELECT * FROM {', '.join(f'({self._for(part)}) AS q{at}' for at, part in enumerate(asked))}"  # noqa: S608

    def _for(self, template: str, **parts: str) -> str:
        schema = self._schema
        return template.format(
            s=schema, event=_EVENT, stream=_STREAM, place=_PLACE, generation=_GENERATION.format(s=schema),
            horizon=_HORIZON.format(s=schema), now=NOW, **parts,
        ).strip()  # fmt: skip
