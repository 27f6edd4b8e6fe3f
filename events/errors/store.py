"""FL6xx to FL9xx: the store and the broker, a log that is not what it was, and bugs of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .root import FlowledgerError

if TYPE_CHECKING:
    pass


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
    default_hint = "somebody else has written to the run: look at it again (`flowledger show RUN`), then ask again"


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
    default_hint = "nothing is lost: `flowledger why RUN` says who drives it now"


class KeyTaken(StoreError):
    """A stream with this (app, factory, key) exists; ``run_id`` says which, ``inputs_digest`` (if known) with what."""

    code = "FL604"
    default_hint = "`flowledger show KEY` shows the run that has it; another run needs another key"

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
    default_hint = "`flowledger verify RUN` names the first event that is not what was written"


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
    default_hint = "`flowledger replay RUN` explains it; the code that wrote the log can still go on with the run"

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
