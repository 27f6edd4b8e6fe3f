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

from flowledger.events.raised import Hold, NotReady, Permanent

from .definition import (
    AmbiguousSymbol,
    CyclicFlow,
    DefinitionError,
    DuplicateName,
    FactoryNotPure,
    FlowNotRegistered,
    FoldFailed,
    MaybeSkipped,
    MissingSymbol,
    NotImportable,
    NotSupported,
    PlacedInsideTask,
    ProvidesMismatch,
    ReservedName,
    SymbolTypeMismatch,
    TransactionMisused,
    UnknownArgument,
    UnknownExecutor,
    UnresolvedAnnotation,
    UnserialisableType,
)
from .root import (
    DOCS_URL,
    FlowledgerError,
)
from .run import (
    DeadLetterNotFound,
    IllegalRequest,
    InputError,
    KeyConflict,
    KeyMissing,
    NotLive,
    PayloadErased,
    PayloadError,
    PayloadTooLarge,
    PlanDiffers,
    Refused,
    RunCancelled,
    RunFailed,
    RunNotFound,
    RunOwned,
    RunReverted,
    RunSuspended,
    RunUnsuccessful,
    SecretInClear,
    UnserialisableResult,
)
from .store import (
    BrokerUnavailable,
    ClusterChanged,
    Fenced,
    InboxNotEmpty,
    IntegrityError,
    InternalError,
    KeyTaken,
    LogRewound,
    Nondeterminism,
    SchemaTooNew,
    SchemaTooOld,
    SealBroken,
    StoreError,
    StoreUnavailable,
    Tampered,
    VersionConflict,
    ViewsMissing,
)

__all__ = [
    "DOCS_URL",
    "AmbiguousSymbol",
    "BrokerUnavailable",
    "ClusterChanged",
    "CyclicFlow",
    "DeadLetterNotFound",
    "DefinitionError",
    "DuplicateName",
    "FactoryNotPure",
    "Fenced",
    "FlowNotRegistered",
    "FlowledgerError",
    "FoldFailed",
    "Hold",
    "IllegalRequest",
    "InboxNotEmpty",
    "InputError",
    "IntegrityError",
    "InternalError",
    "KeyConflict",
    "KeyMissing",
    "KeyTaken",
    "LogRewound",
    "MaybeSkipped",
    "MissingSymbol",
    "Nondeterminism",
    "NotImportable",
    "NotLive",
    "NotReady",
    "NotSupported",
    "PayloadErased",
    "PayloadError",
    "PayloadTooLarge",
    "Permanent",
    "PlacedInsideTask",
    "PlanDiffers",
    "ProvidesMismatch",
    "Refused",
    "ReservedName",
    "RunCancelled",
    "RunFailed",
    "RunNotFound",
    "RunOwned",
    "RunReverted",
    "RunSuspended",
    "RunUnsuccessful",
    "SchemaTooNew",
    "SchemaTooOld",
    "SealBroken",
    "SecretInClear",
    "StoreError",
    "StoreUnavailable",
    "SymbolTypeMismatch",
    "Tampered",
    "TransactionMisused",
    "UnknownArgument",
    "UnknownExecutor",
    "UnresolvedAnnotation",
    "UnserialisableResult",
    "UnserialisableType",
    "VersionConflict",
    "ViewsMissing",
]
