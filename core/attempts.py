"""The idempotency key (rule C5)."""

from __future__ import annotations

from hashlib import sha256

from flowledger.events.facts import Phase


def idempotency_key(run_id: str, path: str, try_: int, phase: Phase, failures: int) -> str:
    """32 hex digits that change when an outcome is known, and only then.

    ``failures`` counts the failed attempts recorded in this try. An attempt that was interrupted, lost or timed out may
    have had its effect: the next one carries the same key, so that whoever receives it can tell.
    """
    text = f"{run_id}\n{path}\n{try_}\n{phase}\n{failures}"
    return sha256(text.encode()).hexdigest()[:32]
