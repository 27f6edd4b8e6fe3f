"""Runs one flow of the corpus again and again, each time dying at another point, and resumes it (`python -m`).

A process of its own, without threads, so that it may fork: each run and each resume is a fresh child, started in
milliseconds. Reads a `Job` as JSON from stdin, writes JSON lines to stdout: the `Outcome` of the run that nobody
disturbs, then a list of point and outcome for each point.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
from pydantic_core import to_jsonable_python

from flowledger import Flow, Run, RunOwned
from flowledger.adapters import failpoint, loading, sources
from flowledger.adapters.keys import new_key
from flowledger.events.store import Store
from tests.crash import corpus, seats
from tests.crash.deeds import DEEDS, RELEASE
from tests.crash.job import Job, Outcome, Point, Row
from tests.crash.mail import run_until_over
from tests.crash.points import CHOICES

CHILD_LIMIT_S = 30
MOST_RESUMES = 5


class _Counting:
    """Stands where the armed failpoint stands, and only counts the appends."""

    name = "append.before_begin"

    def __init__(self) -> None:
        self.passed = 0

    def pass_by(self) -> None:
        self.passed += 1


def _drive(job: Job, place: Path, point: Point | None) -> None:
    """In a child: run or resume by the same call, then write down how it ended."""
    counting = _Counting()
    failpoint._armed = counting if point is None else failpoint._Armed(point.name, point.nth, failpoint._die)  # type: ignore[assignment]
    run = _run(place.name, job)
    store = corpus.app.runtime.store
    log = loading.read(store, run.id)
    moved = loading.moved_values(store, run.id, log)
    event = sources.forked(log)
    outcome = Outcome(
        run.id,
        run.state,
        to_jsonable_python(dict(run.results)),
        _rows(store, run.id),
        {digest: content.decode("latin-1") for digest, content in moved.items()},
        source=[] if event is None else _rows(store, event.source),
        appends=counting.passed,
    )
    (place / "outcome.json").write_bytes(msgspec.json.encode(outcome))


def _rows(store: Store, run_id: str) -> list[Row]:
    return [Row.of(e) for e in store.read(run_id)]


def _run(key: str, job: Job) -> Run[Any]:
    """The call that is made again after each death. A server may take a moment to notice that its client is gone."""

    def go(part: Flow[Any]) -> Run[Any]:
        return run_until_over(part, key, job.flow, job.executor)

    deed = DEEDS.get(job.flow)
    until = monotonic() + CHILD_LIMIT_S / 2
    while True:
        try:
            return go(seats.factory(job.flow)()) if deed is None else deed[0](go)
        except RunOwned:
            if not job.database_url or monotonic() > until:
                raise


def _child(work: Callable[[], None]) -> int:
    """Do the work in a fork of this process; returns its exit code."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    signal.alarm(CHILD_LIMIT_S)
    try:
        work()
    except BaseException:  # noqa: BLE001 - reported by the exit code, told on stderr
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def run_once(job: Job, point: Point | None) -> Outcome:
    """Run, die at the point, resume until the run has ended."""
    place = Path(job.directory) / (f"{point.name}-{point.nth}" if point else "whole")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    os.environ[corpus.TRACE] = str(place / "trace")
    os.environ["FLOWLEDGER_DATABASE_URL"] = job.database_url or f"sqlite:///{place}/log.db"
    RELEASE["now"] = 1
    code = _child(lambda: _drive(job, place, point))
    died, resumes = code == failpoint.EXIT_CODE, 0
    RELEASE["now"] = 2
    while code == failpoint.EXIT_CODE and resumes < MOST_RESUMES:
        code, resumes = _child(lambda: _drive(job, place, None)), resumes + 1
    if code:
        raise RuntimeError(f"{job.flow} at {point}: the process ended with {code} after {resumes} resumes")
    outcome = msgspec.json.decode((place / "outcome.json").read_bytes(), type=Outcome)
    outcome.died = died
    trace = place / "trace"
    outcome.trace = trace.read_text().splitlines() if trace.exists() else []
    shutil.rmtree(place)
    return outcome


def _warm_up(job: Job) -> None:
    """Import and compile what each child needs: then a fork has it, and starts in milliseconds."""
    store, dialect = ("postgres", "postgresql.psycopg") if job.database_url else ("sqlite", "sqlite")
    import_module(f"flowledger.adapters.stores.{store}")
    import_module(f"sqlalchemy.dialects.{dialect}")
    flow = DEEDS[job.flow][1] if job.flow in DEEDS else seats.factory(job.flow)
    corpus.app.plan(flow(), executor=job.executor)
    gc.freeze()  # what is shared stays shared


def main() -> None:
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    os.environ["FLOWLEDGER_CODEC_KEYS"] = new_key("crash", "aes").line  # for those with secrets
    _warm_up(job)
    whole = run_once(job, None)
    _say(whole)
    for point in CHOICES[job.choice](whole.appends):
        _say((point, run_once(job, point)))


def _say(what: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
