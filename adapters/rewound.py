"""The log has gone back: what this process wrote, and was told is kept, is not there any more (RELIABILITY R13).

Whoever drives a run is the only one who writes under its epoch. So where its append is refused, and the run is behind
what it knows, events that were acknowledged are gone: a standby was promoted that had not got them, or an older copy of
the log was put in its place. Going on as if nothing had happened would do again what has been done, and tell nobody.
"""

from __future__ import annotations

from flowledger.core.engine.run import RunDriver
from flowledger.events.errors import LogRewound, StoreUnavailable

from .claiming import in_thread
from .runtime import Runtime


async def rewound(runtime: Runtime, driver: RunDriver) -> LogRewound | None:
    """Whether a run was lost because the log has gone back behind what was acknowledged to this process.

    A store that is away says nothing of it; what took the run away is true all the same.
    """
    refused = driver.not_appended
    if refused is None or refused.create is not None:
        return None
    try:
        stream = await in_thread(runtime, lambda: runtime.store.stream(driver.run_id))
    except StoreUnavailable:
        return None
    # Both only grow, whoever owns the run by now.
    if stream is not None and stream.epoch >= refused.epoch and stream.version >= refused.expected:
        return None
    runtime.adrift.add(driver.run_id)  # it may be in this process's name still, and nobody here drives it
    now = "is not there" if stream is None else f"is at version {stream.version} of epoch {stream.epoch}"
    return LogRewound(
        f"the log has gone back: run {driver.run_id} {now}, and this process has written it up to version "
        f"{refused.expected} of epoch {refused.epoch}"
    )
