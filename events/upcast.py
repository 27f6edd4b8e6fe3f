"""Upcasters: old payloads lifted to today's shape. Pure, dict to dict, one per (type, version), kept for ever.

A payload of version n is lifted n → n+1 → … until it is today's. Stored rows are never rewritten.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


def task_failed_1(payload: dict[str, Any]) -> dict[str, Any]:
    """Version 1 kept one line ``error: "ValueError: no quota"``; version 2 keeps a `Failure`."""
    error = str(payload.pop("error", ""))
    kind, _, message = error.partition(": ")
    payload["failure"] = {"path": "", "type": kind, "message": message, "attempt": payload.get("attempt", 1)}
    return payload


UPCASTERS: dict[tuple[str, int], Upcaster] = {
    ("TaskFailed", 1): task_failed_1,
}
