"""The statements of `claims`: each does its work for a whole batch, on arrays, by the database's clock (C1 to C4)."""

from __future__ import annotations

from typing import Final

#: Workers that live: seen lately, and, unless just now, with a presence lock that nobody else could take (B2).
ALIVE: Final = """alive AS MATERIALIZED (
  SELECT w.id FROM {s}.workers w
   WHERE {now} - w.last_seen_us <= %s::float8 * 1000000
     AND (w.presence IS NULL OR {now} - w.last_seen_us <= %s::float8 * 1000000
          OR NOT pg_try_advisory_xact_lock_shared(w.presence)))"""
#: Arrays of keys, one per column; and how a claim is found by them.
KEYS: Final = "unnest(%s::text[], %s::text[], %s::int4[], %s::int4[], %s::text[]"
MATCH: Final = "(c.run_id, c.path, c.try, c.attempt, c.phase) = (k.run_id, k.path, k.try, k.attempt, k.phase)"

JOIN: Final = """
WITH expired AS (DELETE FROM {s}.workers WHERE last_seen_us < {now} - %s)
INSERT INTO {s}.workers
  (id, host, pid, app, queues, concurrency, state, running, presence, started_us, last_seen_us)
VALUES (%s, %s, %s, %s, %s, %s, %s, 0, %s, {now}, {now})
ON CONFLICT (id) DO UPDATE SET last_seen_us = EXCLUDED.last_seen_us RETURNING id"""

CLAIM: Final = """
WITH {alive},
asked AS MATERIALIZED (
  SELECT DISTINCT ON (run_id, path, try, attempt, phase) k.*
    FROM {keys}, %s::int8[]) AS k(run_id, path, try, attempt, phase, call) JOIN {s}.streams s USING (run_id)
   WHERE s.status = ANY (%s::text[])
   ORDER BY run_id, path, try, attempt, phase, call DESC)
INSERT INTO {s}.attempt_claims AS c (run_id, path, try, attempt, phase, call, worker, claimed_us, last_seen_us)
SELECT run_id, path, try, attempt, phase, call, %s, {now}, {now} FROM asked
ON CONFLICT (run_id, path, try, attempt, phase) DO UPDATE
   SET call = EXCLUDED.call, worker = EXCLUDED.worker, claimed_us = EXCLUDED.claimed_us,
       last_seen_us = EXCLUDED.last_seen_us, ended_us = NULL, cancelled = 0, progress = NULL, message = NULL
 WHERE c.call IS NULL
    OR (c.call = EXCLUDED.call AND c.worker = EXCLUDED.worker AND c.ended_us IS NULL)
    OR (c.call < EXCLUDED.call AND (c.ended_us IS NOT NULL OR c.worker NOT IN (SELECT id FROM alive)
        OR {now} - c.last_seen_us > %s::float8 * 1000000))
RETURNING c.run_id, c.path, c.try, c.attempt, c.phase, c.call"""

#: Then comes what puts mail into inboxes (`Statements.send`), all as one statement.
ENDED: Final = """
WITH ended AS (
  UPDATE {s}.attempt_claims c SET ended_us = {now}, last_seen_us = {now}
    FROM {keys}, %s::int8[]) AS k(run_id, path, try, attempt, phase, call)
   WHERE {match} AND c.call = k.call AND c.worker = %s),"""

BEAT: Final = """
WITH said AS (
  INSERT INTO {s}.workers AS w
    (id, host, pid, app, queues, concurrency, state, running, presence, started_us, last_seen_us)
  VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, {now}, {now})
  ON CONFLICT (id) DO UPDATE SET last_seen_us = EXCLUDED.last_seen_us, running = EXCLUDED.running,
    state = EXCLUDED.state, concurrency = EXCLUDED.concurrency, queues = EXCLUDED.queues),
signs AS MATERIALIZED (
  SELECT * FROM {keys}, %s::float8[], %s::text[]) AS k(run_id, path, try, attempt, phase, fraction, message)),
touched AS (
  UPDATE {s}.attempt_claims c SET last_seen_us = {now}, progress = coalesce(k.fraction, c.progress),
         message = CASE WHEN k.fraction IS NULL THEN c.message ELSE k.message END
    FROM signs k WHERE {match} AND c.worker = %s AND c.ended_us IS NULL
  RETURNING c.run_id, c.path, c.try, c.attempt, c.phase, c.cancelled)
SELECT k.run_id, k.path, k.try, k.attempt, k.phase
  FROM signs k LEFT JOIN touched c ON {match} WHERE coalesce(c.cancelled, 1) = 1"""

LEAVE: Final = "DELETE FROM {s}.workers WHERE id = %s RETURNING id"

OF: Final = """
WITH {alive}
SELECT c.run_id, c.path, c.try, c.attempt, c.phase, c.call, c.worker, c.claimed_us,
       greatest(0, {now} - c.last_seen_us) / 1e6::float8, c.ended_us IS NOT NULL,
       c.ended_us IS NULL AND {now} - c.last_seen_us <= %s::float8 * 1000000
         AND c.worker IN (SELECT id FROM alive),
       c.cancelled, c.progress, c.message
  FROM {s}.attempt_claims c WHERE c.run_id = ANY (%s::text[]) AND c.call IS NOT NULL
 ORDER BY c.run_id, c.path, c.try, c.attempt, c.phase"""

CANCEL: Final = """
UPDATE {s}.attempt_claims c SET cancelled = 1
  FROM {keys}) AS k(run_id, path, try, attempt, phase)
 WHERE {match} AND c.ended_us IS NULL RETURNING c.run_id"""

WORKERS: Final = """
WITH {alive}
SELECT w.id, w.host, w.pid, w.app, w.queues, w.concurrency, w.state, w.started_us,
       greatest(0, {now} - w.last_seen_us) / 1e6::float8, w.running, w.id IN (SELECT id FROM alive)
  FROM {s}.workers w WHERE %s::text IS NULL OR w.app = %s ORDER BY w.app, w.started_us, w.id"""

SAY_UNCLAIMED: Final = "UPDATE {s}.owners SET asks = %s WHERE id = %s RETURNING id"

BACKLOGS: Final = """
SELECT o.app, o.asks, {now} FROM {s}.owners o
 WHERE o.asks IS NOT NULL AND {now} - o.last_seen_us <= %s::float8 * 1000000 AND (%s::text IS NULL OR o.app = %s)"""

SWEEP: Final = """
WITH claims AS (
  DELETE FROM {s}.attempt_claims c WHERE c.last_seen_us < {now} - %s
    AND NOT EXISTS (SELECT FROM {s}.streams s WHERE s.run_id = c.run_id AND s.status = ANY (%s::text[]))),
parcels AS (
  DELETE FROM {s}.parcels p WHERE p.time_us < {now} - %s
    AND NOT EXISTS (SELECT FROM {s}.streams s WHERE s.run_id = p.run_id AND s.status = ANY (%s::text[])))
DELETE FROM {s}.workers WHERE last_seen_us < {now} - %s RETURNING id"""

KEEP: Final = """
INSERT INTO {s}.parcels (run_id, path, try, attempt, phase, call, content, time_us)
VALUES (%s, %s, %s, %s, %s, %s, %s, {now}) ON CONFLICT DO NOTHING RETURNING run_id"""

KEPT: Final = (
    "SELECT content FROM {s}.parcels WHERE (run_id, path, try, attempt, phase, call) = (%s, %s, %s, %s, %s, %s)"
)
