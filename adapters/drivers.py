"""Who drives a run just now, or why nobody does: what the log cannot say, for it ends where a process does (B2, B3)."""

from __future__ import annotations

from flowledger.events.store import LIVE, Held, Store, Stream
from flowledger.projections.why import Driver

from .jobs import DEAD_S, judged


def driver_of(store: Store, run_id: str) -> Driver | None:
    """Who drives the run, or why nobody does; None: nobody has to, it is over or suspended."""
    held = store.driver(run_id)
    stream = store.stream(run_id)  # after the look: an owner that has come since is not called dead
    if stream is None or stream.status not in LIVE:
        return None
    if held is not None and held.seen_s <= DEAD_S:
        return Driver(True, f"{held.owner} (process {held.pid} on {held.host}, heard {held.seen_s:.0f} s ago)")
    if stream.owner is not None and (held is None or held.owner == stream.owner):
        return Driver(False, f"{_gone(stream.owner, held)}; {_who_goes_on(stream)}")
    return Driver(False, _nobody(store, stream))


def _gone(owner: str, held: Held | None) -> str:
    if held is None:
        return f"the process that drove it is gone ({owner})"
    where = f"process {held.pid} on {held.host}"
    return f"the process that drives it was last heard {held.seen_s:.0f} s ago ({owner}, {where})"


def _who_goes_on(stream: Stream) -> str:
    if stream.queue is not None:
        return "the next conductor takes it over"
    return f"`flowledger resume {stream.run_id}` goes on"


def _nobody(store: Store, stream: Stream) -> str:
    job = store.board.job(stream.run_id)
    if job is None:
        return f"nobody drives it: {_who_goes_on(stream)}"
    return f"nobody has it: {judged(job, store.board.conductors(), store.now_us()).why}"
