"""What people ask of runs: one class per kind of request, as it travels in mail (rule G1).

A request is sent with an id, an actor and, but for `resume` and `signal`, a reason; it is answered once, in the log.
Fields may be added with a default. What stands in an inbox is read strictly: a field nobody knows is refused.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from .errors import InputError
from .facts import NULL, Raw, RequestKind, Resolution


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Base of all requests."""

    kind: ClassVar[RequestKind]

    reason: str = ""


class Suspend(Request, frozen=True, kw_only=True):
    """Start nothing more; what runs finishes (G2)."""

    kind = "suspend"


class Resume(Request, frozen=True, kw_only=True):
    """Go on."""

    kind = "resume"


class Cancel(Request, frozen=True, kw_only=True):
    """Give the run up and undo all that stands; ``keep``: leave it standing (G4)."""

    kind = "cancel"

    keep: bool = False


class Resolve(Request, frozen=True, kw_only=True):
    """Say what became of an attempt that is held at ``path`` (G3); ``result`` is JSON, for "succeeded"."""

    kind = "resolve"

    path: str
    resolution: Resolution
    result: Raw = NULL


class Revert(Request, frozen=True, kw_only=True):
    """Undo all that stands of a final run (G5)."""

    kind = "revert"


class Rerun(Request, frozen=True, kw_only=True, rename={"from_": "from"}):
    """Run again what of a final run has not succeeded; ``from_`` (written ``from``): from this part on (G5)."""

    kind = "rerun"

    from_: str | None = None


class Signal(Request, frozen=True, kw_only=True):
    """A value for whoever waits for ``name`` (F4)."""

    kind = "signal"

    name: str
    payload: Raw = NULL


REQUESTS: dict[str, type[Request]] = {
    cls.kind: cls for cls in (Suspend, Resume, Cancel, Resolve, Revert, Rerun, Signal)
}

#: Mail of another kind, from a run to its parent's (G7): the child at this path has ended. Its answer is to look.
CHILD = "child"

_ENCODER = msgspec.json.Encoder()
_DECODERS = {kind: msgspec.json.Decoder(cls) for kind, cls in REQUESTS.items()}


def encode(request: Request) -> bytes:
    """The request as the content of a mail."""
    return _ENCODER.encode(request)


def decode(kind: str, content: bytes) -> Request:
    """The request that a mail holds.

    Raises:
        InputError: nobody knows such a request, or the content does not fit it.
    """
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise InputError(f"there is no request {kind!r}", field="kind", expected=", ".join(REQUESTS), given=kind)
    try:
        return decoder.decode(content)
    except msgspec.MsgspecError as error:
        raise InputError(f"a request {kind} does not fit: {error}", field="content") from error
