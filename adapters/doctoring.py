"""What keeps a log's runs from going on, looked for at once: `flowledger doctor`. It reads, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final, Literal, NamedTuple

from flowledger.events.errors import BrokerUnavailable, InputError
from flowledger.events.store import LIVE, Store

from . import upkeep
from .drivers import driver_of
from .jobs import DEAD_S, Listed, listed
from .projecting.standing import standings
from .settings import Settings
from .stores import open_store

Verdict = Literal["ok", "note", "bad"]

#: So many runs are looked at, the newest of those that are not final; and so many are named.
MOST: Final = 500
NAMED: Final = 5
#: Views and open transactions that are so old are worth a word (H2).
LATE_US: Final = 10_000_000
OPEN_US: Final = 1_000_000
_STANDS: Final = {"UNSERVED", "REFUSED", "ORPHANED"}


class Found(NamedTuple):
    """One thing that was looked at. ``bad``: something does not go on, or would not; ``hint``: what to do."""

    about: str
    verdict: Verdict
    said: str
    hint: str = ""


def examine(settings: Settings) -> Iterator[Found]:
    """Everything, one thing after the other. Where the database cannot be used, nothing that is in it is looked at.

    Raises:
        StoreUnavailable: it cannot be reached.
    """
    standing = upkeep.status(settings)
    if not standing.version:
        yield Found("database", "note", f"{standing.where}: there is no log in it yet", "the first run makes one")
    elif not standing.is_ready:
        yield Found("database", "bad", f"{standing.where}: {upkeep.why_not(standing)}", upkeep.remedy(standing))
    else:
        yield Found("database", "ok", f"{standing.where}, schema {standing.version}, {_at_work(len(standing.alive))}")
        with closing(open_store(settings.database_url, schema=settings.database_schema)) as store:
            for look in (_transactions, _views, _conductors, _jobs, _drivers, _workers, _seals):
                yield from look(store)
    yield from _broker(settings)


def _at_work(many: int) -> str:
    return f"{many} process{'' if many == 1 else 'es'} at work" if many else "nobody at work"


# -- in the database ----------------------------------------------------------------------------


def _transactions(store: Store) -> Iterator[Found]:
    hidden = store.hidden()
    age_us = 0 if hidden is None else store.now_us() - hidden.since_us
    if hidden is None or age_us < OPEN_US:
        yield Found("transactions", "ok", "none holds back what is in the log")
        return
    who = hidden.by or "whose it is this role may not see"
    said = f"one that is open holds back what is in the log since {age_us / 1e6:.0f} s: {who}"
    yield Found("transactions", "bad", said, "end it: views, notices and whoever waits for events see nothing newer")


def _views(store: Store) -> Iterator[Found]:
    found = standings(store)
    if not found.projections:
        yield Found("views", "note", "nobody has made them yet", "whoever reads them first does: `flowledger ls`")
    for each in found.projections:
        name, behind_us = each.slot.projection, each.behind_us
        if not each.slot.live:
            yield Found("views", "note", f"{name} version {each.slot.version} is being made")
        elif behind_us < LATE_US:
            yield Found("views", "ok", f"{name} lacks nothing that is older than {LATE_US // 1_000_000} s")
        else:
            said = f"{name} is {behind_us / 1e6:.0f} s behind"
            yield Found("views", "note", said, "`flowledger projector` keeps them up to date")


def _conductors(store: Store) -> Iterator[Found]:
    found = [each for each in store.board.conductors() if each.seen_s <= DEAD_S]
    drains = sum(each.draining for each in found)
    said = f"{len(found)} that live" + (f", {drains} of them draining" if drains else "")
    yield Found("conductors", "ok" if found else "note", said)


def _jobs(store: Store) -> Iterator[Found]:
    jobs = listed(store, limit=MOST)
    stuck = [each for each in jobs if each.standing in _STANDS]
    if not stuck:
        yield Found("jobs", "ok", f"{_counted(len(jobs), 'waits or is', 'wait or are')} worked on")
    for each in stuck[:NAMED]:
        yield Found("jobs", "bad", f"run {each.job.run_id}: {each.why}", _cure(each))
    if len(stuck) > NAMED:
        yield Found("jobs", "bad", f"{len(stuck) - NAMED} more do not go on", "`flowledger jobs ls` lists them")


def _cure(each: Listed) -> str:
    if each.standing == "ORPHANED":
        return f"start `flowledger conductor`, or `flowledger jobs release {each.job.run_id} --reason …`"
    if each.standing == "REFUSED":
        return "the code of its conductors cannot take it: `flowledger definitions check`"
    return f"start `flowledger conductor --queue {each.job.queue}` with this app, or `flowledger resume` it here"


def _drivers(store: Store) -> Iterator[Found]:
    """Runs that are not on the board: nobody takes them up but who asks for them (B3)."""
    live = [stream for stream in store.streams(statuses=sorted(LIVE), limit=MOST) if stream.queue is None]
    one_of = {
        stream.owner: stream.run_id for stream in live
    }  # an owner lives or not, whichever of its runs is asked of
    gone = {owner for owner, run_id in one_of.items() if _gone(store, run_id)}
    alone = [stream.run_id for stream in live if stream.owner in gone]
    if not alone:
        yield Found("embedded runs", "ok", f"{_counted(len(live), 'goes', 'go')} on")
    for run_id in alone[:NAMED]:
        yield Found("embedded runs", "bad", f"run {run_id}: {_gone(store, run_id).partition(';')[0]}",
                    f"`flowledger resume {run_id}` goes on")  # fmt: skip
    if len(alone) > NAMED:
        more = f"{len(alone) - NAMED} more are driven by nobody"
        yield Found("embedded runs", "bad", more, "`flowledger ls state:live` lists all that have not ended")


def _gone(store: Store, run_id: str) -> str:
    driver = driver_of(store, run_id)
    return "" if driver is None or driver.lives else driver.words


def _workers(store: Store) -> Iterator[Found]:
    found = [each for each in store.claims.workers() if each.lives]
    unserved = [each for each in store.claims.backlogs() if not any(w.serves(each.app, each.queue) for w in found)]
    if not unserved:
        yield Found("workers", "ok", f"{len(found)} that live, and no queue waits for one")
    for each in unserved:
        said = f"no worker takes queue {each.queue} of {each.app}: {each.waiting} wait, for {each.waits_s:.0f} s"
        yield Found("workers", "bad", said, f"start `flowledger worker --queue {each.queue}`")


def _seals(store: Store) -> Iterator[Found]:
    last = store.seals.last()
    if last is None:
        said = "none: an end that is cut off, or a history written anew, could not be seen"
        yield Found("seals", "note", said, "`flowledger seals new` from a timer, and a copy kept elsewhere")
        return
    age_us = store.now_us() - last.read().time_us
    yield Found("seals", "ok", f"seal {last.number}, {age_us / 3.6e9:.1f} h old")


def _counted(many: int, one: str, several: str) -> str:
    return f"{many or 'none'} {one if many <= 1 else several}"


# -- beside it ----------------------------------------------------------------------------------


def _broker(settings: Settings) -> Iterator[Found]:
    if settings.broker_url is None:
        yield Found("broker", "ok", "none is set: nothing is asked of workers")
        return
    yield _tried("broker", lambda: _reached(settings))


def _reached(settings: Settings) -> str:
    from .broker.links import Link, LinkBroken  # noqa: PLC0415 - loads kombu
    from .broker.location import locate  # noqa: PLC0415

    location = locate(settings.broker_url or "")
    try:
        Link(location, limit_s=settings.broker_timeout_s).close()
    except LinkBroken as error:
        raise BrokerUnavailable(str(error)) from error
    return f"{location} answers"


def _tried(about: str, look: Callable[[], str]) -> Found:
    try:
        return Found(about, "ok", look())
    except (BrokerUnavailable, InputError) as error:
        return Found(about, "bad", f"{error.code}: {error.message}", error.hint)
