"""flowledger: workflows that finish or are undone, with every step kept as an event.

What people import. Nothing behind it is loaded before it is used: `import flowledger` costs next to nothing, and the
parts that need a database are imported by the first run. Everything in `__all__` is public, the rest is not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adapters.app import App
    from .adapters.executors.given import Bounded
    from .adapters.listeners import Duration, DurationListener, LoggingListener
    from .adapters.listening import Progress
    from .adapters.notifying.channels import Command, Email, Webhook
    from .adapters.run import Run, RunState
    from .adapters.settings import Settings
    from .core.backoff import Backoff, Seconds, constant, exponential
    from .core.context import OtherOutcome, TaskContext
    from .core.factory import FlowFactory
    from .core.names import Provides
    from .core.options import Executor
    from .core.parts import Atom, Flow, Link, Part
    from .core.patterns import graph, linear, link, switch, unordered
    from .core.pauses import sleep
    from .core.plan import OnInterrupt
    from .core.preview import Preview
    from .core.resource import Resource
    from .core.retry import AlwaysRevert, AlwaysRevertAll, Deadline, Retry, Times, Try, TryEach
    from .core.signals import Signal
    from .core.symbols import Symbol, symbol
    from .core.task import AsyncFunctionTask, FunctionTask, Task
    from .events.envelope import Envelope
    from .events.errors import (
        AmbiguousSymbol,
        BrokerUnavailable,
        ClusterChanged,
        CyclicFlow,
        DeadLetterNotFound,
        DefinitionError,
        DuplicateName,
        FactoryNotPure,
        Fenced,
        FlowledgerError,
        FlowNotRegistered,
        FoldFailed,
        Hold,
        IllegalRequest,
        InboxNotEmpty,
        InputError,
        IntegrityError,
        InternalError,
        KeyConflict,
        KeyMissing,
        KeyTaken,
        LogRewound,
        MaybeSkipped,
        MissingSymbol,
        Nondeterminism,
        NotImportable,
        NotLive,
        NotReady,
        NotSupported,
        PayloadErased,
        PayloadError,
        PayloadTooLarge,
        Permanent,
        PlacedInsideTask,
        PlanDiffers,
        ProvidesMismatch,
        Refused,
        ReservedName,
        RunCancelled,
        RunFailed,
        RunNotFound,
        RunOwned,
        RunReverted,
        RunSuspended,
        RunUnsuccessful,
        SchemaTooNew,
        SchemaTooOld,
        SealBroken,
        SecretInClear,
        StoreError,
        StoreUnavailable,
        SymbolTypeMismatch,
        Tampered,
        TransactionMisused,
        UnknownArgument,
        UnknownExecutor,
        UnresolvedAnnotation,
        UnserialisableResult,
        UnserialisableType,
        VersionConflict,
        ViewsMissing,
    )
    from .events.facts import Decision, Depth, OnFailure, Resolution
    from .events.failure import Failure
    from .projections.rows import Rows
    from .projections.tables import Table

__version__ = "0.1.0"

# where each name lives
_HOMES = {
    "adapters.app": ("App",),
    "adapters.executors.given": ("Bounded",),
    "adapters.listeners": ("Duration", "DurationListener", "LoggingListener"),
    "adapters.listening": ("Progress",),
    "adapters.notifying.channels": ("Command", "Email", "Webhook"),
    "adapters.run": ("Run", "RunState"),
    "adapters.settings": ("Settings",),
    "core.backoff": ("Backoff", "Seconds", "constant", "exponential"),
    "core.context": ("OtherOutcome", "TaskContext"),
    "core.factory": ("FlowFactory",),
    "core.names": ("Provides",),
    "core.options": ("Executor",),
    "core.parts": ("Atom", "Flow", "Link", "Part"),
    "core.patterns": ("graph", "linear", "link", "switch", "unordered"),
    "core.pauses": ("sleep",),
    "core.plan": ("OnInterrupt",),
    "core.preview": ("Preview",),
    "core.resource": ("Resource",),
    "core.retry": ("AlwaysRevert", "AlwaysRevertAll", "Deadline", "Retry", "Times", "Try", "TryEach"),
    "core.signals": ("Signal",),
    "core.symbols": ("Symbol", "symbol"),
    "core.task": ("AsyncFunctionTask", "FunctionTask", "Task"),
    "events.envelope": ("Envelope",),
    "events.facts": ("Decision", "Depth", "OnFailure", "Resolution"),
    "events.failure": ("Failure",),
    "projections.rows": ("Rows",),
    "projections.tables": ("Table",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AlwaysRevert",
    "AlwaysRevertAll",
    "AmbiguousSymbol",
    "App",
    "AsyncFunctionTask",
    "Atom",
    "Backoff",
    "Bounded",
    "BrokerUnavailable",
    "ClusterChanged",
    "Command",
    "CyclicFlow",
    "DeadLetterNotFound",
    "Deadline",
    "Decision",
    "DefinitionError",
    "Depth",
    "DuplicateName",
    "Duration",
    "DurationListener",
    "Email",
    "Envelope",
    "Executor",
    "FactoryNotPure",
    "Failure",
    "Fenced",
    "Flow",
    "FlowFactory",
    "FlowNotRegistered",
    "FlowledgerError",
    "FoldFailed",
    "FunctionTask",
    "Hold",
    "IllegalRequest",
    "InboxNotEmpty",
    "InputError",
    "IntegrityError",
    "InternalError",
    "KeyConflict",
    "KeyMissing",
    "KeyTaken",
    "Link",
    "LogRewound",
    "LoggingListener",
    "MaybeSkipped",
    "MissingSymbol",
    "Nondeterminism",
    "NotImportable",
    "NotLive",
    "NotReady",
    "NotSupported",
    "OnFailure",
    "OnInterrupt",
    "OtherOutcome",
    "Part",
    "PayloadErased",
    "PayloadError",
    "PayloadTooLarge",
    "Permanent",
    "PlacedInsideTask",
    "PlanDiffers",
    "Preview",
    "Progress",
    "Provides",
    "ProvidesMismatch",
    "Refused",
    "ReservedName",
    "Resolution",
    "Resource",
    "Retry",
    "Rows",
    "Run",
    "RunCancelled",
    "RunFailed",
    "RunNotFound",
    "RunOwned",
    "RunReverted",
    "RunState",
    "RunSuspended",
    "RunUnsuccessful",
    "SchemaTooNew",
    "SchemaTooOld",
    "SealBroken",
    "Seconds",
    "SecretInClear",
    "Settings",
    "Signal",
    "StoreError",
    "StoreUnavailable",
    "Symbol",
    "SymbolTypeMismatch",
    "Table",
    "Tampered",
    "Task",
    "TaskContext",
    "Times",
    "TransactionMisused",
    "Try",
    "TryEach",
    "UnknownArgument",
    "UnknownExecutor",
    "UnresolvedAnnotation",
    "UnserialisableResult",
    "UnserialisableType",
    "VersionConflict",
    "ViewsMissing",
    "Webhook",
    "__version__",
    "constant",
    "exponential",
    "graph",
    "linear",
    "link",
    "sleep",
    "switch",
    "symbol",
    "unordered",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME.get(name, 'events.errors')}", __name__), name)
    globals()[name] = value  # found once; the next access does not come here
    return value


def __dir__() -> list[str]:
    return __all__
