"""How often and how long a task may run: the options of `@app.task` and `.revert`, checked where they are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from flowledger.events.errors import DefinitionError

from .backoff import NO_BACKOFF, Backoff, Seconds, as_backoff, seconds
from .names import Provides, did_you_mean, part_name, provides_names
from .plan import EXECUTORS, LANES, LOSSES, OnInterrupt

#: Where sync bodies run: "inline", "threads", "processes", "workers", or the name of an executor of the app.
Executor = str

OPTIONS = (
    "provides", "name", "label", "attempts", "backoff", "retry_on", "timeout", "deadline", "on_interrupt", "losses",
    "read_only", "executor", "transactional", "priority", "queue",
)  # fmt: skip
#: A transaction keeps others waiting (C8): what its body may take unless it says so, and at most.
TRANSACTION_S = 10.0
LONGEST_TRANSACTION_S = 60.0
#: As a broker can be asked for it.
QUEUE_CHARS = 100
#: A priority is a number of so many bits.
_PRIORITY_BITS = 31


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """The options execute and revert have in common."""

    attempts: int = 1
    backoff: Backoff = NO_BACKOFF
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """All that `@app.task` can be told."""

    provides: Provides | None = None
    name: str | None = None
    label: str | None = None
    call: CallOptions = CallOptions()
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    deadline_s: float | None = None
    on_interrupt: OnInterrupt = "rerun"
    losses: int = LOSSES
    read_only: bool = False
    executor: Executor | None = None
    transactional: bool = False
    priority: int = 0
    queue: str | None = None


def call_options(
    where: str, *, attempts: int = 1, backoff: Backoff | Seconds = NO_BACKOFF, timeout: Seconds | None = None
) -> CallOptions:
    """Checked options of a call; ``where`` names the definition for the error."""
    return CallOptions(
        attempts=_count(attempts, where),
        backoff=as_backoff(backoff, where),
        timeout_s=_duration(timeout, "timeout", where),
    )


def task_options(
    where: str,
    *,
    provides: Provides | None = None,
    name: str | None = None,
    label: str | None = None,
    attempts: int = 1,
    backoff: Backoff | Seconds = NO_BACKOFF,
    retry_on: type[Exception] | tuple[type[Exception], ...] = (Exception,),
    timeout: Seconds | None = None,
    deadline: Seconds | None = None,
    on_interrupt: Literal["rerun", "fail", "hold"] = "rerun",
    losses: int = LOSSES,
    read_only: bool = False,
    executor: Executor | None = None,
    transactional: bool = False,
    priority: int = 0,
    queue: str | None = None,
    **unknown: Any,
) -> TaskOptions:
    """Checked options of a task.

    Raises:
        DefinitionError: a value that makes no sense.
    """
    _refuse_unknown(unknown, where)
    if transactional and (executor not in (None, "inline", "threads") or queue is not None):
        left_out = "queue=" if queue is not None else f'executor="{executor}"'
        raise DefinitionError(f"{where}: a transaction cannot leave this process", hint=f"leave out {left_out}")
    call = call_options(where, attempts=attempts, backoff=backoff, timeout=timeout)
    return TaskOptions(
        provides=provides_names(provides, f"{where}: provides"),
        name=None if name is None else part_name(name, where),
        label=label,
        call=transaction_call(call, where) if transactional else call,
        retry_on=_exceptions(retry_on, where),
        deadline_s=_duration(deadline, "deadline", where),
        on_interrupt=_one_of("on_interrupt", on_interrupt, ("rerun", "fail", "hold"), where),
        losses=_losses(losses, where),
        read_only=read_only,
        executor=None if executor is None else _executor(executor, where),
        transactional=transactional,
        priority=_priority(priority, where),
        queue=_queue(queue, where),
    )


def _executor(name: str, where: str) -> str:
    """Whether the app that runs it was given an executor of this name shows when a flow is compiled there."""
    return name if name in EXECUTORS else given_name(name, f"{where}: executor={name!r}")


def given_name(name: str, where: str) -> str:
    """``name`` if an executor that is given to an app may be called so.

    Raises:
        DefinitionError: it cannot, or it is the name of one that is always there.
    """
    if name in LANES:
        always = ", ".join(EXECUTORS)
        raise DefinitionError(
            f"{where}: the name {name!r} is taken", hint=f"{always} are always there; choose another name"
        )
    return part_name(name, where)


def transaction_call(call: CallOptions, where: str) -> CallOptions:
    """The options of a call that is a transaction: it always has a limit (C8).

    Raises:
        DefinitionError: the limit is longer than a transaction may take.
    """
    if call.timeout_s is not None and call.timeout_s > LONGEST_TRANSACTION_S:
        raise DefinitionError(
            f"{where}: timeout={call.timeout_s:g} is longer than a transaction may take",
            hint=f"at most {LONGEST_TRANSACTION_S:g} s; do what takes long in a task before it",
        )
    return call if call.timeout_s is not None else replace(call, timeout_s=TRANSACTION_S)


def _refuse_unknown(options: Mapping[str, Any], where: str) -> None:
    for option in options:
        raise DefinitionError(
            f"{where}: there is no option {option}=",
            hint=did_you_mean(option, OPTIONS) or f"options: {', '.join(OPTIONS)}",
        )


def is_queue(name: object) -> bool:
    """Whether a queue may be called so: 1 to `QUEUE_CHARS` characters that can be printed."""
    return isinstance(name, str) and 1 <= len(name) <= QUEUE_CHARS and name.isprintable()


def _queue(queue: str | None, where: str) -> str | None:
    if queue is not None and not is_queue(queue):
        raise DefinitionError(
            f"{where}: queue={queue!r} is no name", hint=f"1 to {QUEUE_CHARS} characters that can be printed"
        )
    return queue


def _count(attempts: int, where: str) -> int:
    if type(attempts) is not int or attempts < 1:
        raise DefinitionError(
            f"{where}: attempts={attempts!r} is not a number from 1", hint="attempts=1 means no retry"
        )
    return attempts


def _losses(losses: int, where: str) -> int:
    if type(losses) is not int or losses < 1:
        raise DefinitionError(
            f"{where}: losses={losses!r} is not a number from 1",
            hint=f"the loss of its process that parks the task; {LOSSES} is the default, losses=1 the first",
        )
    return losses


def _priority(priority: int, where: str) -> int:
    if type(priority) is not int or priority.bit_length() > _PRIORITY_BITS:
        raise DefinitionError(
            f"{where}: priority={priority!r} is not a whole number", hint="higher ones come first; 0 is the default"
        )
    return priority


def _duration(value: Seconds | None, option: str, where: str) -> float | None:
    if value is None:
        return None
    try:
        result = seconds(value)
    except ValueError as error:
        raise DefinitionError(
            f"{where}: {option}={value!r} is not a duration",
            hint="seconds or a timedelta, of a hundred years at most; leave it out for no limit",
        ) from error
    if not result > 0:
        raise DefinitionError(f"{where}: {option}={value!r} leaves no time", hint="leave it out for no limit")
    return result


def _exceptions(value: Any, where: str) -> tuple[type[BaseException], ...]:
    classes = _as_tuple(value)
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            raise DefinitionError(
                f"{where}: retry_on={cls!r} is not an exception class", hint="e.g. retry_on=(TimeoutError, OSError)"
            )
    return classes


def _as_tuple(value: Any) -> tuple[Any, ...]:
    many: tuple[Any, ...] = ()
    many += value if isinstance(value, tuple) else (value,)
    return many


def _one_of(option: str, value: Any, allowed: tuple[Any, ...], where: str) -> Any:
    if value not in allowed:
        known = ", ".join(repr(a) for a in allowed if a is not None)
        raise DefinitionError(f"{where}: there is no {option}={value!r}", hint=f"use one of {known}")
    return value
