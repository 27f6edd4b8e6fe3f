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
    it; ``max_bytes`` bounds the result. ``call`` is that of `events.claims.Ask`: 0, or a poll's.
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
    call: int = 0


class Reference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"try_": "try"}):
    """Instead of a request that is too large for a message: where it is kept (`events.claims.AttemptClaims.kept`).

    ``secret``: what is kept is encrypted.
    """

    kept: bool  # true
    run: str
    path: str
    phase: Phase = "execute"
    try_: int
    attempt: int
    call: int = 0
    secret: bool = False


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of it: ``returned`` (``content`` is the result), ``raised`` (``again``: another attempt may help;
    ``still_running``: it was given up), ``unready`` (the body said `NotReady`), ``held`` (it said `Hold`), or ``lost``
    (its process is gone: ``message``)."""

    kind: Literal["returned", "raised", "unready", "held", "lost"]
    content: msgspec.Raw = NULL
    failure: Failure | None = None
    again: bool = False
    still_running: bool = False
    retry_after_s: float = 0.0
    message: str = ""


class Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"try_": "try"}):
    """How an attempt ended at a worker, as it stands in the run's inbox (C2): matched by path, phase, try and attempt.

    ``worker`` is its id, then ``pid@host``. ``reply`` is a `Reply` as JSON, encrypted where the run has secrets.
    ``fraction`` and ``message`` are the last that the body said of its progress.
    """

    path: str
    phase: Phase = "execute"
    try_: int
    attempt: int
    call: int = 0
    worker: str
    reply: msgspec.Raw
    fraction: float | None = None
    message: str = ""


_ENCODER = msgspec.json.Encoder()
_REQUESTS = msgspec.json.Decoder(Request)
_REPLIES = msgspec.json.Decoder(Reply)
_TOLD = msgspec.json.Decoder(Told)


class _Peek(msgspec.Struct):
    kept: bool = False


_PEEKS = msgspec.json.Decoder(_Peek)
_REFERENCES = msgspec.json.Decoder(Reference)


def encoded(it: Request | Reference | Reply | Told) -> bytes:
    """As bytes."""
    return _ENCODER.encode(it)


def request_of(content: bytes) -> Request:
    """A request that came in; raises `msgspec.MsgspecError` for anything that is none."""
    return _REQUESTS.decode(content)


def asked_of(content: bytes) -> Request | Reference:
    """What came through a broker; raises `msgspec.MsgspecError` for anything that is neither."""
    return _REFERENCES.decode(content) if _PEEKS.decode(content).kept else _REQUESTS.decode(content)


def bound_to(run_id: str, told: Told) -> str:
    """What the encryption of an outcome is bound to, so that it stands for no other attempt's."""
    return f"outcome {run_id} {told.phase}/{told.try_}/{told.attempt}/{told.call}/{told.path}"


def reply_of(content: bytes) -> Reply:
    """A reply that came in; raises `msgspec.MsgspecError` for anything that is none."""
    return _REPLIES.decode(content)


def told_of(content: bytes) -> Told:
    """An outcome out of an inbox; raises `msgspec.MsgspecError` for anything that is none."""
    return _TOLD.decode(content)
