"""Attempts and outcomes as bytes: what crosses to another process, on this machine or over the broker (rules B6, C1).

JSON, and nothing in it is ever executed: a task is looked up by the name it was registered under, arguments are read
through the annotations of the code that is there. Resources and the context are made where the body runs.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from flowledger.events.facts import NULL, OutcomeIgnored, Phase
from flowledger.events.failure import Failure

from .state import Ended


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"try_": "try"}):
    """One attempt that somebody else is asked to make. ``config``: the fields of a task class.

    ``deadline_us`` is store time; ``ended`` and ``late``: in a revert, how execute ended, and what came too late of
    it; ``max_bytes`` bounds the result.
    """

    run: str
    path: str
    phase: Phase = "execute"
    task: str
    config: msgspec.Raw = msgspec.Raw(b"{}")
    try_: int = 1
    attempt: int = 1
    key: str
    arguments: dict[str, msgspec.Raw] = {}
    deadline_us: int | None = None
    ended: Ended | None = None
    late: tuple[OutcomeIgnored, ...] = ()
    max_bytes: int


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of it: ``returned`` (``content`` is the result), ``raised`` (``again``: another attempt may help),
    ``unready`` (the body said `NotReady`), or ``held`` (it said `Hold`)."""

    kind: Literal["returned", "raised", "unready", "held"]
    content: msgspec.Raw = NULL
    failure: Failure | None = None
    again: bool = False
    retry_after_s: float = 0.0
    message: str = ""


_ENCODER = msgspec.json.Encoder()
_REQUESTS = msgspec.json.Decoder(Request)
_REPLIES = msgspec.json.Decoder(Reply)


def encoded(it: Request | Reply) -> bytes:
    """As bytes."""
    return _ENCODER.encode(it)


def request_of(content: bytes) -> Request:
    """A request that came in; raises `msgspec.MsgspecError` for anything that is none."""
    return _REQUESTS.decode(content)


def reply_of(content: bytes) -> Reply:
    """A reply that came in; raises `msgspec.MsgspecError` for anything that is none."""
    return _REPLIES.decode(content)
