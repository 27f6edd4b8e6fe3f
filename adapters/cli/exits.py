"""How a command ends: the exit codes (API §5), and what is said of an error."""

from __future__ import annotations

import os
import traceback
from enum import IntEnum
from typing import TYPE_CHECKING

from flowledger.events import errors

if TYPE_CHECKING:
    from collections.abc import Callable


class Exit(IntEnum):
    """What a shell gets."""

    OK = 0
    UNSUCCESSFUL = 1  # the run did not succeed; also a bug, ours or the user's
    USAGE = 2  # usage, input, definition
    NOT_FOUND = 3
    REFUSED = 4
    UNREACHABLE = 5  # store or broker
    NOT_VERIFIED = 6
    NONDETERMINISM = 7
    TIMED_OUT = 8
    INTERRUPTED = 130


#: The first class an error belongs to decides.
_CODES: tuple[tuple[type[BaseException], Exit], ...] = (
    (errors.DefinitionError, Exit.USAGE),
    (errors.InputError, Exit.USAGE),
    (errors.PayloadError, Exit.USAGE),
    (errors.RunSuspended, Exit.INTERRUPTED),
    (errors.RunUnsuccessful, Exit.UNSUCCESSFUL),
    (errors.RunNotFound, Exit.NOT_FOUND),
    (errors.DeadLetterNotFound, Exit.NOT_FOUND),
    (errors.Refused, Exit.REFUSED),
    (errors.Fenced, Exit.REFUSED),
    (errors.VersionConflict, Exit.REFUSED),
    (errors.KeyTaken, Exit.REFUSED),
    (errors.StoreError, Exit.UNREACHABLE),
    (errors.BrokerUnavailable, Exit.UNREACHABLE),
    (errors.Nondeterminism, Exit.NONDETERMINISM),
    (errors.IntegrityError, Exit.NOT_VERIFIED),
    (TimeoutError, Exit.TIMED_OUT),
    (KeyboardInterrupt, Exit.INTERRUPTED),
)


def exit_of(error: BaseException) -> Exit:
    """The exit code for an error that ends a command."""
    return next((code for cls, code in _CODES if isinstance(error, cls)), Exit.UNSUCCESSFUL)


def report(error: BaseException, say: Callable[[str], None]) -> Exit:
    """Say what went wrong, line by line and without a traceback (``FLOWLEDGER_DEBUG=1`` shows it); the exit code."""
    if isinstance(error, KeyboardInterrupt):
        say("interrupted")
    elif isinstance(error, errors.FlowledgerError):
        first, *more = error.message.split("\n")
        for line in (f"error {error.code}: {first}", *more):
            say(line)
        if error.hint:
            say(f"  hint: {error.hint}")
    else:
        said = str(error).strip().partition("\n")[0]
        say(f"error: {type(error).__name__}{': ' + said if said else ''}")
        say("  hint: FLOWLEDGER_DEBUG=1 shows the traceback")
    if os.environ.get("FLOWLEDGER_DEBUG"):
        for line in "".join(traceback.format_exception(error)).rstrip().split("\n"):
            say(line)
    return exit_of(error)
