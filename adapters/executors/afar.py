"""What is handed to an executor that an app was given by name: one function, from bytes to bytes (rule B6).

An executor may call it on a thread of this process, in a child, or on another machine; it may pickle the call, which is
all our own: names the app's owner has given, and JSON. The app is imported by its name, the task is looked up in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from multiprocessing import util
from threading import Lock
from time import monotonic
from typing import Final, NamedTuple

from flowledger.adapters.broker.wrapping import REQUEST, Wrapping, is_wrapped, wrapping_of
from flowledger.adapters.importing import app_named
from flowledger.core.engine.attempt import Attempt, Lost, Outcome
from flowledger.core.engine.crossing import reply
from flowledger.core.portable import request_of
from flowledger.core.registry import Registry
from flowledger.events.errors import FlowledgerError

from .elsewhere import not_begun
from .flags import Flags
from .maker import Maker

#: What the encryption of a reply is bound to, with the call's token.
REPLY: Final = "reply "


class Here(NamedTuple):
    """An attempt of this very process: the body may have what it has by itself."""

    attempt: Attempt
    maker: Callable[[], Maker]


class _Process:
    """What this process keeps between calls."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.here: dict[str, Here] = {}
        self.makers: dict[str, Maker] = {}
        self.wrappings: dict[str, Wrapping] = {}


_process = _Process()


def _forked() -> None:
    """A child has the memory of its parent, but none of its threads: it keeps things of its own."""
    global _process
    _process = _Process()


os.register_at_fork(after_in_child=_forked)


def expect(token: str, here: Here) -> None:
    """The attempt may come to this very process."""
    _process.here[token] = here


def forget(token: str) -> None:
    """It is over."""
    _process.here.pop(token, None)


def run_attempt(app: str, content: bytes, token: str, folder: str, limit_s: float | None) -> bytes:
    """Make an attempt.

    Args:
        app: where the app is found, ``module:attribute``.
        content: the `Request`, encrypted where it holds secrets.
        token: of this call alone; who is called with it again must not begin what another may have done.
        folder: where its flags are.
        limit_s: how long the body may take, in seconds, before it should see that it is not wanted any more.

    Returns:
        The `Reply`, encrypted where the request was.
    """
    flags = Flags(folder, token)
    if not flags.begin():
        return reply(Lost("whoever ran it is gone, and its executor had it begun a second time"))
    here = _process.here.get(token)
    is_secret = is_wrapped(content)
    try:
        wrapping = _wrapping(app) if is_secret else None
        if wrapping is not None:
            content = wrapping.opened(content, bound_to=REQUEST + token)
        outcome = _made(app, content, here, _unwanted(flags, here, limit_s))
        answer = reply(outcome)
        return answer if wrapping is None else wrapping.wrapped(answer, bound_to=REPLY + token)
    except FlowledgerError as error:  # keys that are not here: nothing was begun
        return reply(Lost(f"it could not begin: {error.message}"))


def _unwanted(flags: Flags, here: Here | None, limit_s: float | None) -> Callable[[], bool]:
    if here is not None:
        return here.attempt.is_cancelled
    seen = flags.is_seen()
    until_s = None if limit_s is None else monotonic() + limit_s

    def is_unwanted() -> bool:
        return (seen and flags.is_unwanted()) or (until_s is not None and monotonic() >= until_s)

    return is_unwanted


def _made(app: str, content: bytes, here: Here | None, is_unwanted: Callable[[], bool]) -> Outcome:
    request = request_of(content)
    if is_unwanted():
        return Lost("nobody wanted it any more when it was to begin")
    if here is not None:
        return here.maker().make(request, is_unwanted, here.attempt.progressed)
    try:
        maker = _maker(app)
    except Exception as error:  # noqa: BLE001 - it imports the user's code
        return not_begun(request, error)
    return maker.make(request, is_unwanted)


def _maker(app: str) -> Maker:
    """One per process and app; its resources are closed when the process ends."""
    process = _process
    with process.lock:
        maker = process.makers.get(app)
        if maker is None:
            maker = process.makers[app] = Maker(app_named(app))
            util.Finalize(None, maker.close, exitpriority=10)  # at the end of a child of multiprocessing, too
    return maker


def _wrapping(app: str) -> Wrapping:
    """As the settings of the app say in this process."""
    found = _process.wrappings.get(app)
    if found is None:
        found = _process.wrappings[app] = wrapping_for(app_named(app))
    return found


def wrapping_for(registry: Registry) -> Wrapping:
    """What encrypts for another process what holds secrets.

    Raises:
        InputError: the keys that are set cannot be read.
    """
    settings = getattr(registry, "settings", None)
    return wrapping_of(None if settings is None else settings.codec_keys)
