"""Verifying the log where it is: Postgres computes every hash, in one window query per portion of runs (rule A8).

It answers with the runs that are amiss, and leaves it to whoever asked to say what is wrong with them. A run whose
texts cannot stand as they are in Postgres (`wire`) is always named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from flowledger.events.store import Counted

from .connecting import GuardedConnection, Lost
from .database import PostgresDatabase
from .location import Location
from .wire import original

#: So many events at most in one query (but for a run that has more), and so many runs.
PORTION_EVENTS: Final = 100_000
PORTION_RUNS: Final = 5_000
#: How long one portion may take. A run of some ten million events is one.
ANSWER_S: Final = 3_600.0

_RUNS: Final = "SELECT run_id, version FROM {s}.streams WHERE run_id > %s ORDER BY run_id LIMIT %s"
# Between stream rows the portions see them; these come after the last.
_LATE: Final = "SELECT DISTINCT run_id FROM {s}.events WHERE run_id > %s ORDER BY run_id LIMIT 100"
_STRAYS: Final = (
    "SELECT DISTINCT e.run_id FROM {s}.events e "
    "WHERE NOT EXISTS (SELECT FROM {s}.streams s WHERE s.run_id = e.run_id) ORDER BY 1"
)

# The frame of `events.chain`: version, schema version, time, then the lengths of run id, type, path, actor, payload.
_CHECK: Final = r"""
WITH each AS (
  SELECT e.run_id, e.version, e.type, e.hash, e.payload,
         row_number() OVER w AS place,
         e.hash = sha256(
           coalesce(lag(e.hash) OVER w, decode(repeat('00', 32), 'hex'))
           || int8send(e.version) || int4send(e.schema_version) || int8send(e.time_us)
           || int4send(octet_length(e.run_id)) || int4send(octet_length(e.type)) || int4send(octet_length(e.path))
           || int4send(octet_length(e.actor)) || int8send(octet_length(e.payload)::int8)
           || convert_to(e.run_id || e.type || e.path || e.actor, 'UTF8') || e.payload) AS fits
    FROM {s}.events e WHERE e.run_id > %(after)s AND e.run_id <= %(upto)s
  WINDOW w AS (PARTITION BY e.run_id ORDER BY e.version)),
runs AS (
  SELECT run_id, count(*) AS events, max(version) AS version,
         bool_and(fits AND place = version) AS fits
    FROM each GROUP BY run_id),
moved AS (
  SELECT run_id, substring(payload FROM position('\x226d6f766564223a22'::bytea IN payload) + 9 FOR 64) AS digest
    FROM each WHERE position('\x226d6f766564223a22'::bytea IN payload) > 0
  UNION ALL
  SELECT run_id, convert_to((regexp_matches(list[1], '[0-9a-f]{{64}}', 'g'))[1], 'UTF8')
    FROM each, regexp_matches(encode(payload, 'escape'), '"secrets":\[([^]]*)\]', 'g') AS list
   WHERE position('\x2273656372657473223a5b'::bytea IN payload) > 0),
-- What a submission must begin and, but for a few fields, end with: between are its inputs, which may look like it.
named AS (
  SELECT s.run_id, s.key, s.tags, encode(e.payload, 'escape') AS said,
         encode(convert_to('{{"app":' || to_json(s.app) || ',"factory":' || to_json(s.factory), 'UTF8'), 'escape')
           AS begins,
         encode(convert_to(concat(',"key":' || to_json(s.key), CASE WHEN s.tags <> '{{}}' THEN
           ',"tags":' || replace(replace(s.tags, '": "', '":"'), '", "', '","') END), 'UTF8'), 'escape') AS ends
    FROM {s}.streams s JOIN each e ON e.run_id = s.run_id AND e.version = 1
   WHERE e.type = 'RunSubmitted'),
amiss AS (
  SELECT coalesce(s.run_id, r.run_id) AS run_id
    FROM (SELECT run_id, version, head_hash FROM {s}.streams WHERE run_id > %(after)s AND run_id <= %(upto)s) AS s
    FULL JOIN runs r ON r.run_id = s.run_id
   WHERE s.run_id IS NULL OR r.run_id IS NULL OR NOT r.fits OR r.version < s.version
      OR s.run_id LIKE '%%' || chr(1) || '%%'
      OR NOT EXISTS (SELECT FROM each e WHERE e.run_id = s.run_id AND e.version = s.version AND e.hash = s.head_hash)
  UNION
  SELECT s.run_id FROM {s}.streams s JOIN each e ON e.run_id = s.run_id AND e.version = s.version
   WHERE CASE s.status
           WHEN 'SUCCEEDED' THEN e.type <> 'RunSucceeded' WHEN 'REVERTED' THEN e.type <> 'RunReverted'
           WHEN 'FAILED' THEN e.type <> 'RunFailed' WHEN 'CANCELLED' THEN e.type <> 'RunCancelled'
           WHEN 'SUSPENDED' THEN e.type <> 'RunSuspended'
           ELSE e.type IN ('RunSucceeded', 'RunReverted', 'RunFailed', 'RunCancelled', 'RunSuspended') END
  UNION
  SELECT run_id FROM named
   WHERE NOT (starts_with(said, begins) AND (key IS NOT NULL OR position('"key":' IN said) = 0)
     AND (tags <> '{{}}' OR position('"tags":' IN said) = 0)
     AND (ends = '' OR position(ends IN said) > 0 AND substr(said, position(ends IN said) + length(ends))
       ~ '^(,"executor":"[^"]*")?(,"secrets":\[[^]]*\])?(,"codec":"[^"]*")?(,"parent":\{{[^}}]*\}})?\}}$'))
  UNION
  SELECT m.run_id FROM moved m
   WHERE NOT EXISTS (SELECT FROM {s}.payloads p WHERE p.run_id = m.run_id AND convert_to(p.digest, 'UTF8') = m.digest)
  UNION
  SELECT p.run_id FROM {s}.payloads p
   WHERE p.run_id > %(after)s AND p.run_id <= %(upto)s AND encode(sha256(p.content), 'hex') <> p.digest)
SELECT (SELECT count(*) FROM runs), (SELECT coalesce(sum(events), 0)::int8 FROM runs), (SELECT count(*) FROM moved),
       array(SELECT run_id FROM amiss ORDER BY run_id),
       array(SELECT min(run_id) || ' ' || plan FROM (
         SELECT run_id, substring(encode(payload, 'escape') FROM '"fingerprint":"([0-9a-f]{{64}})"') AS plan
           FROM each WHERE type IN ('RunStarted', 'PlanChanged', 'FlowExpanded')) AS named
          WHERE plan IS NOT NULL GROUP BY plan)"""


def check_log(location: Location) -> Iterator[Counted]:
    """See `events.store.ChecksItself`. On a connection of its own, which may take its time.

    Raises:
        StoreUnavailable
    """
    database = PostgresDatabase(replace(location, statement_timeout_s=ANSWER_S))
    try:
        after = ""
        while runs := _rows(database, _RUNS, after, PORTION_RUNS):
            upto = _portion(runs)
            yield _checked(database, after, upto)
            after = upto
        late = _rows(database, _LATE, after)
        yield Counted(0, 0, 0, tuple(original(row[0]) for row in late))
    finally:
        database.dispose()


def strays(database: PostgresDatabase) -> list[str]:
    """See `Store.strays`."""
    return [original(row[0]) for row in _rows(database, _STRAYS)]


def _rows(database: PostgresDatabase, statement: str, *values: object) -> list[tuple[Any, ...]]:
    text = statement.format(s=database.schema)

    def read(connection: GuardedConnection) -> list[tuple[Any, ...]]:
        return connection.execute(text, values).fetchall()  # pyright: ignore[reportArgumentType]

    return database.reading(read)


def _portion(runs: list[tuple[Any, ...]]) -> str:
    """The last of the runs that come next."""
    events, upto = 0, str(runs[0][0])
    for run_id, version in runs:
        events += version
        if events > PORTION_EVENTS:
            break
        upto = run_id
    return upto


def _checked(database: PostgresDatabase, after: str, upto: str) -> Counted:
    statement = _CHECK.format(s=database.schema)

    def read(connection: GuardedConnection) -> Counted:
        row = connection.execute(statement, {"after": after, "upto": upto}).fetchone()  # pyright: ignore[reportArgumentType]
        assert row is not None
        named = (text.rpartition(" ") for text in row[4])
        plans = tuple((original(run_id), plan) for run_id, _, plan in named)
        return Counted(row[0], row[1], row[2], tuple(original(run_id) for run_id in row[3]), plans)

    try:
        return database.reading_once(read)
    except Lost as lost:
        raise database.unavailable(lost.error) from lost
