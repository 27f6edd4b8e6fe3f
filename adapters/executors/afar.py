"""What is handed to an executor that an app was given by name: one function, from bytes to bytes (rule B6).

An executor may call it on a thread of this process, in a child, or on another machine; it may pickle the call, which is
all our own: names the app's owner has given, and JSON. The app is imported by its name, the task is looked up in it.
"""

from __future__ import annotations

import os
import socket
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
from flowledger.events.facts import Progress

from .elsewhere import not_begun
from .flags import Flags
from .maker import Maker

#: What the encryption of a reply is bound to, with the call's token.
REPLY: Final = "reply "
#: A body that says often how far it has got is heard so often, in seconds.
SAY_S: Final = 0.5


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


def run_attempt(
    app: str, content: bytes, token: str, folder: str, limit_s: float | None, shared: bool = False
) -> bytes:
    """Make an attempt.

    Args:
        app: where the app is found, ``module:attribute``.
        content: the `Request`, encrypted where it holds secrets.
        token: of this call alone; who is called with it again must not begin what another may have done.
        folder: where its flags are.
        limit_s: how long the body may take, in seconds, before it should see that it is not wanted any more.
        shared: the folder is promised to be here, whatever machine this is: where it is not, nothing begins.

    Returns:
        The `Reply`, encrypted where the request was.
    """
    flags = Flags(folder, token)
    try:
        if not flags.begin():
            return reply(Lost("whoever ran it is gone, and its executor had it begun a second time"))
    except OSError as error:
        if shared:
            return reply(Lost(f"it could not begin: SHARED_FOLDER is not there on {socket.gethostname()}: {error}"))
    here = _process.here.get(token)
    is_secret = is_wrapped(content)
    try:
        wrapping = _wrapping(app) if is_secret else None
        if wrapping is not None:
            content = wrapping.opened(content, bound_to=REQUEST + token)
        outcome = _made(app, content, here, _unwanted(flags, here, limit_s), flags)
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


class _Saying:
    """What a body says of how far it has got: not all of it, for it may say it often, but the last of it at its end."""

    def __init__(self, flags: Flags) -> None:
        self._flags = flags
        self._last: Progress | None = None
        self._next_s = 0.0

    def __call__(self, fraction: float, message: str) -> None:
        self._last = Progress(fraction=fraction, message=message)
        if monotonic() >= self._next_s:
            self.flush()

    def flush(self) -> None:
        """Say what has not been said yet."""
        last, self._last = self._last, None
        if last is not None:
            self._flags.say(last)
            self._next_s = monotonic() + SAY_S


def _made(app: str, content: bytes, here: Here | None, is_unwanted: Callable[[], bool], flags: Flags) -> Outcome:
    request = request_of(content)
    if is_unwanted():
        return Lost("nobody wanted it any more when it was to begin")
    if here is not None:
        return here.maker().make(request, is_unwanted, here.attempt.progressed)
    try:
        maker = _maker(app)
    except Exception as error:  # noqa: BLE001 - it imports the user's code
        return not_begun(request, error)
    saying = _Saying(flags)
    try:
        return maker.make(request, is_unwanted, saying)
    finally:
        saying.flush()


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
