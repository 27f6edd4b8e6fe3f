"""FL2xx to FL5xx: a wrong value, a run that ended badly, what is refused, and values that cannot be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .root import FlowledgerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowledger.events.failure import Failure


# -- FL2xx: inputs ------------------------------------------------------------------------------


class InputError(FlowledgerError, ValueError):
    """A value handed in does not fit. ``field``, ``expected`` and ``given`` say which and how."""

    code = "FL200"

    def __init__(
        self, message: str, *, field: str = "", expected: str = "", given: str = "", hint: str | None = None
    ) -> None:
        wanted = f"expected: {expected}" if expected and expected not in message else None
        super().__init__(message, hint=wanted if hint is None else hint)
        self.field = field
        self.expected = expected
        self.given = given


# -- FL3xx: how a run ended ---------------------------------------------------------------------


class RunUnsuccessful(FlowledgerError):
    """The run did not succeed. ``run`` is its handle, ``failures`` what went wrong, in plan order."""

    code = "FL300"

    def __init__(
        self, message: str, *, run: Any = None, failures: Sequence[Failure] = (), hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.run = run
        self.failures: tuple[Failure, ...] = tuple(failures)


class RunReverted(RunUnsuccessful):
    """The run failed and everything it had done has been undone."""

    code = "FL301"


class RunFailed(RunUnsuccessful):
    """The run failed and what it had done is still standing, or could not be undone."""

    code = "FL302"


class RunCancelled(RunUnsuccessful):
    """The run was cancelled."""

    code = "FL303"


class RunSuspended(RunUnsuccessful):
    """The run is suspended: nothing is lost, `resume` goes on."""

    code = "FL304"


# -- FL4xx: refused -----------------------------------------------------------------------------


class Refused(FlowledgerError):
    """What was asked for is not allowed in the present state. Nothing has been changed."""

    code = "FL400"


class RunNotFound(Refused, LookupError):
    """No run has this id, prefix or key."""

    code = "FL401"
    default_hint = "`flowledger ls` lists the runs, and says which log it has read"


class IllegalRequest(Refused):
    """The request does not fit the run's status."""

    code = "FL402"
    default_hint = "`flowledger show RUN` says how the run stands, and `flowledger why RUN` why"


class NotLive(Refused):
    """The run is final; it takes no more signals or requests of this kind."""

    code = "FL403"
    default_hint = "`flowledger show RUN` says how it ended; `rerun`, `revert` and `fork` are for runs that are over"


class PlanDiffers(Refused):
    """Today's code builds another plan than the one the run has history for.

    Where it is of an expansion: ``was`` is the fingerprint of the recorded subplan, ``document`` describes today's.
    """

    code = "FL404"
    default_hint = "let the code that wrote its log go on with it; docs/code-changes.md says what may change"

    def __init__(self, message: str, *, hint: str | None = None, was: str = "", document: bytes = b"") -> None:
        super().__init__(message, hint=hint)
        self.was = was
        self.document = document


class KeyConflict(Refused):
    """The key belongs to a run with other inputs."""

    code = "FL405"
    default_hint = "use another key, or the inputs the key was first used with"


class RunOwned(Refused):
    """Another live process drives this run."""

    code = "FL407"


class DeadLetterNotFound(Refused, LookupError):
    """No message that was put aside has this id."""

    code = "FL408"
    default_hint = "`flowledger dlq ls` lists those there are"


# -- FL5xx: payloads ----------------------------------------------------------------------------


class PayloadError(FlowledgerError):
    """A value cannot be stored."""

    code = "FL500"


class UnserialisableResult(PayloadError):
    """A body returned something that does not fit its return annotation or cannot be serialised."""

    code = "FL501"


class PayloadTooLarge(PayloadError):
    """A value is over the hard limit (`PAYLOAD_MAX_BYTES`)."""

    code = "FL502"
    default_hint = "store the value elsewhere and return a reference to it"


class PayloadErased(PayloadError):
    """The run's key was removed, so its secrets or encrypted values cannot be read any more."""

    code = "FL503"
    default_hint = "they were erased on purpose; what happened can still be read and verified"


class KeyMissing(PayloadError):
    """There is no key to encrypt with, or not the one that something was encrypted with."""

    code = "FL504"
    default_hint = (
        "`flowledger keys new --kind aes --name … --out FILE` makes one; name the file in FLOWLEDGER_CODEC_KEYS_FILE"
    )


class SecretInClear(PayloadError):
    """A result holds a secret of the run, but its annotation does not say so. It has not been written."""

    code = "FL505"
    default_hint = "annotate what is secret in the result with `Secret[str]`, or leave it out"
