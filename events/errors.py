"""Every error flowledger raises, in one tree.

    FlowledgerError
    ├ DefinitionError      FL1xx  the flow is wrong; nothing was written
    │   MissingSymbol · AmbiguousSymbol · SymbolTypeMismatch · UnknownArgument · ProvidesMismatch · ReservedName
    │   DuplicateName · CyclicFlow · UnserialisableType · UnresolvedAnnotation · NotImportable · PlacedInsideTask
    │   FactoryNotPure · FlowNotRegistered · NotSupported · MaybeSkipped · FoldFailed · TransactionMisused
    │   UnknownExecutor
    ├ InputError           FL2xx  a value handed in is wrong (also a ValueError)
    ├ RunUnsuccessful      FL3xx  the run ended, but not well: RunReverted · RunFailed · RunCancelled · RunSuspended
    ├ Refused              FL4xx  RunNotFound · IllegalRequest · NotLive · PlanDiffers · KeyConflict · RunOwned
    │   DeadLetterNotFound
    ├ PayloadError         FL5xx  UnserialisableResult · PayloadTooLarge · PayloadErased · KeyMissing · SecretInClear
    ├ StoreError           FL6xx  StoreUnavailable · VersionConflict · Fenced · KeyTaken · SchemaTooNew · SchemaTooOld
    │   ClusterChanged · InboxNotEmpty · ViewsMissing · LogRewound
    ├ BrokerUnavailable    FL6xx  the broker cannot be reached (beside StoreError: FL610)
    ├ IntegrityError       FL7xx  Tampered · Nondeterminism · SealBroken
    └ InternalError        FL9xx  a bug of ours

Raised *by* user code, and not errors: `NotReady`, `Permanent`, `Hold`.

A message says what is wrong and where; ``hint`` says what to do next; ``code`` never changes its meaning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from .raised import Hold as Hold  # noqa: PLC0414 - here is where they are imported from
from .raised import NotReady as NotReady  # noqa: PLC0414
from .raised import Permanent as Permanent  # noqa: PLC0414

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .failure import Failure

DOCS_URL = "docs/errors.md"


class FlowledgerError(Exception):
    """The root of the tree: catch it to catch everything flowledger raises."""

    code: ClassVar[str] = "FL000"
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint

    @property
    def docs_url(self) -> str:
        """Where this code is explained, relative to the project's root."""
        return f"{DOCS_URL}#{self.code.lower()}"

    def __str__(self) -> str:
        hint = f"\n  hint: {self.hint}" if self.hint else ""
        return f"[{self.code}] {self.message}{hint}"


# -- FL1xx: the definition ----------------------------------------------------------------------


class DefinitionError(FlowledgerError):
    """A task, flow or resource is defined or placed wrongly. Nothing has been written."""

    code = "FL100"


class MissingSymbol(DefinitionError):
    """An argument has no provider: no sibling, no enclosing flow, no input, no resource has its name."""

    code = "FL101"


class AmbiguousSymbol(DefinitionError):
    """An argument has two providers that are equally near."""

    code = "FL102"


class SymbolTypeMismatch(DefinitionError):
    """The provider's type can never be what the argument asks for."""

    code = "FL103"


class UnknownArgument(DefinitionError):
    """`bind` or `each` names an argument the callable does not have."""

    code = "FL104"


class ProvidesMismatch(DefinitionError):
    """`provides` does not fit the return annotation."""

    code = "FL105"


class ReservedName(DefinitionError):
    """`result`, `failure` and `failures` belong to reverts and cannot be symbols or arguments of `execute`."""

    code = "FL106"


class DuplicateName(DefinitionError):
    """Two siblings, or two definitions of an app, were given the same name."""

    code = "FL107"


class CyclicFlow(DefinitionError):
    """The parts of a graph wait for each other."""

    code = "FL108"


class UnserialisableType(DefinitionError):
    """An annotation cannot be written to the log, so its value could not be read back."""

    code = "FL109"
    default_hint = "annotate with a type pydantic can serialise; live objects belong in @app.resource"


class UnresolvedAnnotation(DefinitionError):
    """An annotation names something that does not exist at run time."""

    code = "FL110"
    default_hint = "import it outside `if TYPE_CHECKING:` (ruff: flake8-type-checking.runtime-evaluated-decorators)"


class NotImportable(DefinitionError):
    """The app or a definition cannot be found by name from another process."""

    code = "FL111"


class PlacedInsideTask(DefinitionError):
    """A part was bound or built inside a running task body, where placing has no meaning."""

    code = "FL112"
    default_hint = "place parts in a flow factory; inside a body call the task like the function it is"


class FactoryNotPure(DefinitionError):
    """A flow factory built two different plans from the same inputs."""

    code = "FL113"
    default_hint = "a factory may depend on nothing but its inputs: no clock, no randomness, no environment"


class FlowNotRegistered(DefinitionError):
    """The app has no flow or task of this name, so the run could not be resumed."""

    code = "FL114"


class NotSupported(DefinitionError):
    """What is asked for is not part of this version."""

    code = "FL115"


class MaybeSkipped(DefinitionError):
    """A required argument comes from a part that a branch may skip while its consumer runs."""

    code = "FL116"


class FoldFailed(DefinitionError):
    """The fold of a projection raised: its tables stay where they are until it is mended."""

    code = "FL117"
    default_hint = "mend the fold; if its earlier rows were wrong too, raise the projection's version"


class TransactionMisused(DefinitionError):
    """The body of a transactional task has ended the transaction it was lent."""

    code = "FL118"
    default_hint = "leave commit and rollback to flowledger: return, or raise; for a part of it use begin_nested()"


class UnknownExecutor(DefinitionError):
    """A part is to run on an executor that the app of this process was not given."""

    code = "FL119"


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


# -- FL6xx: the store ---------------------------------------------------------------------------


class StoreError(FlowledgerError):
    """The store did not do what was asked."""

    code = "FL600"


class StoreUnavailable(StoreError, ConnectionError):
    """The store cannot be reached or cannot write: nothing acknowledged is lost."""

    code = "FL601"
    default_hint = "see that it can be reached and written to; nothing acknowledged is lost, so the same call goes on"


class VersionConflict(StoreError):
    """The stream has moved on since it was read."""

    code = "FL602"


class LogRewound(VersionConflict):
    """The log is not as far as it was when this process last wrote to the run: acknowledged events are gone."""

    code = "FL611"
    default_hint = (
        "a standby that lacked them was promoted, or an older copy restored: "
        "`flowledger verify --all --seals FILE` says what is missing (docs/postgres.md, fail-over)"
    )


class Fenced(StoreError):
    """The run has a newer owner; this one must stop."""

    code = "FL603"


class KeyTaken(StoreError):
    """A stream with this (app, factory, key) exists; ``run_id`` says which, ``inputs_digest`` (if known) with what."""

    code = "FL604"

    def __init__(self, message: str, *, run_id: str, inputs_digest: str | None = None) -> None:
        super().__init__(message)
        self.run_id = run_id
        self.inputs_digest = inputs_digest


class InboxNotEmpty(StoreError):
    """The run was to end or to be suspended, but there is mail that whoever drives it has not seen (rule G1)."""

    code = "FL609"
    default_hint = "read the inbox, answer what is in it, and decide again"


class SchemaTooNew(StoreError):
    """The database was made by a newer flowledger."""

    code = "FL605"
    default_hint = "upgrade flowledger in this process, or use another database"


class SchemaTooOld(StoreError):
    """The database must be upgraded first."""

    code = "FL606"
    default_hint = "run `flowledger db upgrade`"


class ClusterChanged(StoreError):
    """The log was restored into another database cluster, and nobody has said so (rule A5)."""

    code = "FL607"
    default_hint = "see that nothing runs on its old place any more, then `flowledger db restored --reason …`"


class ViewsMissing(StoreError):
    """The views of the log have not been made yet."""

    code = "FL608"
    default_hint = "`flowledger projector --once` makes them; `flowledger projections status` says how far they are"


class BrokerUnavailable(FlowledgerError, ConnectionError):
    """The broker cannot be reached, or did not take or give what it was asked for."""

    code = "FL610"
    default_hint = "see that it runs, and that FLOWLEDGER_BROKER_URL names it; what was asked for is in the log"


# -- FL7xx: integrity ---------------------------------------------------------------------------


class IntegrityError(FlowledgerError):
    """The log is not what it should be."""

    code = "FL700"


class Tampered(IntegrityError):
    """A stored event does not match its hash chain. ``run_id`` and ``version`` name the first bad event."""

    code = "FL701"
    default_hint = "do not go on with this run; compare with a backup, and find out who can write to the database"

    def __init__(self, message: str, *, run_id: str, version: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.run_id = run_id
        self.version = version


class Nondeterminism(IntegrityError):
    """A recorded event would not be valid in today's code. ``version`` names the first one.

    ``path`` is where it stands; ``expected`` what was due just before it, the first few.
    """

    code = "FL702"

    def __init__(self, message: str, *, version: int = 0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.version = version
        self.path = ""
        self.expected: tuple[str, ...] = ()


class SealBroken(IntegrityError):
    """A seal does not hold, or the log is not what a seal says. ``seal`` is its number, ``run_id`` the run, if one."""

    code = "FL703"
    default_hint = (
        "log or seals were changed, cut off, or are older: compare with a backup, and see who can write there"
    )

    def __init__(
        self, message: str, *, seal: int = 0, run_id: str = "", version: int = 0, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.seal = seal
        self.run_id = run_id
        self.version = version


# -- FL9xx: ours --------------------------------------------------------------------------------


class InternalError(FlowledgerError):
    """This should never happen."""

    code = "FL900"
    default_hint = "please report it with this message and the output of `flowledger events RUN --json`"
