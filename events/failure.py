"""What is kept of an exception: enough to read it a year later, nothing that must be unpickled."""

from __future__ import annotations

from typing import Literal

import msgspec

FailureKind = Literal[
    "error",  # the body raised
    "permanent",  # the body raised Permanent
    "predicate",  # the predicate of a branch raised; the body never ran
    "expansion",  # the factory of an expansion raised, or what it made is no valid flow there
    "arguments",  # an argument could not be made; the body never ran
    "resource",  # a resource could not be made; the body never ran
    "result",  # the body ran, its result could not be stored
    "timeout",  # one attempt took too long
    "deadline",  # all attempts and polls together took too long
    "interrupted",  # its process died and the task says on_interrupt="fail"
    "poison",  # its process died too often in one try (three times, or what the task says)
    "retry",  # the retry's own code raised
    "child",  # the run that the atom is did not succeed, or could not be undone
    "resolved",  # a person said so, of an attempt that was held
]


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One failed attempt.

    ``path`` is the atom's; ``type`` the exception's qualified name; ``traceback`` ends with the frame that raised;
    ``attempt`` counts from 1 within a try (0: the body never ran); ``cause`` is the exception it was raised from.
    """

    path: str
    type: str
    message: str
    traceback: str = ""
    attempt: int = 0
    kind: FailureKind = "error"
    cause: Failure | None = None
