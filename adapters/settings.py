"""Settings: every value with where it came from.

CLI option > App argument > environment ``FLOWLEDGER_*`` > file named by ``FLOWLEDGER_*_FILE`` > default.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal

from flowledger.events.errors import InputError

Origin = str  # "option", "argument", "default", or the name of the environment variable (of a file: its name too)
LogFormat = Literal["auto", "console", "json"]
Views = Literal["auto", "off"]
Notices = Literal["auto", "off"]

PREFIX: Final = "FLOWLEDGER_"
#: Variables that are no settings, and prefixes of such.
_SPECIAL: Final = frozenset({"FLOWLEDGER_DEBUG", "FLOWLEDGER_FAILPOINT"})
_SPECIAL_PREFIXES: Final = ("FLOWLEDGER_TEST_",)

_DEFAULTS: Final[dict[str, Any]] = {
    "database_url": "sqlite:///flowledger.db",
    "database_schema": None,
    "broker_url": None,
    "broker_timeout_s": 5.0,
    "broker_prefetch": 100,
    "codec_keys": None,
    "signing_keys": None,
    "trusted_keys": None,
    "encrypt_values": False,
    "redact": None,
    "lease_heartbeat_s": 5.0,
    "lease_fence_s": 15.0,
    "lease_takeover_s": 20.0,
    "store_outage_s": 30.0,
    "payload_inline_bytes": 65_536,
    "payload_max_bytes": 16_777_216,
    "threads": min(32, (os.cpu_count() or 1) + 4),
    "processes": os.cpu_count() or 1,
    "shared_folder": None,
    "max_runs": 1_000,
    "app": None,
    "log_level": "INFO",
    "log_format": "auto",
    "views": "auto",
    "notices": "auto",
}


class SettingsWarning(UserWarning):
    """Something in the environment looks like a setting and is none."""


@dataclass(frozen=True, init=False)
class Settings:
    """What can be set. Leave an argument out (or None) to have it from the environment or by default.

    ``origins`` says of each value where it came from. Durations are seconds, sizes bytes.

    Raises:
        InputError: a value is of the wrong kind or out of range; ``field`` names it.
    """

    database_url: str
    database_schema: str | None
    broker_url: str | None
    broker_timeout_s: float
    broker_prefetch: int
    codec_keys: str | None = field(repr=False)
    signing_keys: str | None = field(repr=False)
    trusted_keys: str | None
    encrypt_values: bool
    redact: str | None
    lease_heartbeat_s: float
    lease_fence_s: float
    lease_takeover_s: float
    store_outage_s: float
    payload_inline_bytes: int
    payload_max_bytes: int
    threads: int
    processes: int
    shared_folder: str | None
    max_runs: int
    app: str | None
    log_level: str
    log_format: LogFormat
    views: Views
    notices: Notices
    origins: Mapping[str, Origin] = field(repr=False, compare=False)

    def __init__(
        self,
        *,
        database_url: str | None = None,
        database_schema: str | None = None,
        broker_url: str | None = None,
        broker_timeout_s: float | None = None,
        broker_prefetch: int | None = None,
        codec_keys: str | None = None,
        signing_keys: str | None = None,
        trusted_keys: str | None = None,
        encrypt_values: bool | None = None,
        redact: str | None = None,
        lease_heartbeat_s: float | None = None,
        lease_fence_s: float | None = None,
        lease_takeover_s: float | None = None,
        store_outage_s: float | None = None,
        payload_inline_bytes: int | None = None,
        payload_max_bytes: int | None = None,
        threads: int | None = None,
        processes: int | None = None,
        shared_folder: str | None = None,
        max_runs: int | None = None,
        app: str | None = None,
        log_level: str | None = None,
        log_format: LogFormat | None = None,
        views: Views | None = None,
        notices: Notices | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name in _DEFAULTS and value is not None}
        self._fill({name: (value, "argument") for name, value in given.items()})

    def _fill(self, found: Mapping[str, tuple[Any, Origin]]) -> None:
        """Set every field, checked; what was not found takes its default."""
        origins: dict[str, Origin] = {}
        for name, default in _DEFAULTS.items():
            raw, origin = found.get(name, (default, "default"))
            object.__setattr__(self, name, raw if origin == "default" else _checked(name, raw, origin))
            origins[name] = origin
        object.__setattr__(self, "origins", origins)
        _check_together(self)

    def given(self) -> dict[str, tuple[Any, Origin]]:
        """The values that did not come by default, each with its origin."""
        return {name: (getattr(self, name), origin) for name, origin in self.origins.items() if origin != "default"}


def resolve(
    settings: Settings | None = None,
    database_url: str | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The settings that hold, from all places in their order.

    ``settings`` and ``database_url`` are the arguments of `App`, ``options`` what the command line said.

    Raises:
        InputError: a value does not fit; the message names the variable or argument.

    Warns:
        SettingsWarning: the environment has a ``FLOWLEDGER_*`` variable that means nothing.
    """
    found = dict(_from_environment(os.environ if environ is None else environ))
    if settings is not None:
        found.update(settings.given())
    if database_url is not None:
        found["database_url"] = (database_url, "argument")
    found.update({name: (value, "option") for name, value in (options or {}).items() if value is not None})
    resolved = Settings.__new__(Settings)
    resolved._fill(found)  # noqa: SLF001 - the one other constructor of this class  # pyright: ignore[reportPrivateUsage]
    return resolved


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, tuple[Any, Origin]]]:
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable in _SPECIAL or variable.startswith(_SPECIAL_PREFIXES):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in _DEFAULTS:
            yield name, (environ[variable], variable)
        elif name.removesuffix("_file") in _DEFAULTS:
            if variable.removesuffix("_FILE") not in environ:  # the variable itself comes before its file
                yield name.removesuffix("_file"), (_file_content(variable, environ[variable]), variable)
        else:
            _warn_unknown(variable)


def _file_content(variable: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{variable}: the file {path!r} cannot be read: {error}",
            field=variable, expected="the path of a readable text file", given=path,
        ) from error  # fmt: skip


def _warn_unknown(variable: str) -> None:
    near = get_close_matches(variable, [PREFIX + name.upper() for name in _DEFAULTS], n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    warnings.warn(f"{variable} is set but means nothing to flowledger{meant}", SettingsWarning, stacklevel=2)


# -- what a value must be -----------------------------------------------------------------------


def _text(raw: Any) -> str:
    if not isinstance(raw, str) or not raw.strip():
        raise ValueError
    return raw


def _seconds(raw: Any) -> float:
    value = float(raw)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


def _count(raw: Any) -> int:
    if isinstance(raw, (bool, float)) or (value := int(raw)) < 1:
        raise ValueError
    return value


def _switch(raw: Any) -> bool:
    value = raw if isinstance(raw, bool) else {"1": True, "true": True, "0": False, "false": False}.get(raw.lower())
    if value is None:
        raise ValueError
    return value


def _level(raw: Any) -> str:
    if (value := str(raw).upper()) not in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}:
        raise ValueError
    return value


def _format(raw: Any) -> str:
    if (value := str(raw).lower()) not in {"auto", "console", "json"}:
        raise ValueError
    return value


def _auto(raw: Any) -> str:
    if (value := str(raw).lower()) not in {"auto", "off"}:
        raise ValueError
    return value


_KINDS: Final[dict[str, tuple[Callable[[Any], Any], str]]] = {
    **dict.fromkeys(
        (
            "database_url",
            "database_schema",
            "broker_url",
            "codec_keys",
            "signing_keys",
            "trusted_keys",
            "redact",
            "shared_folder",
            "app",
        ),
        (_text, "a text that is not empty"),
    ),
    **dict.fromkeys(
        ("lease_heartbeat_s", "lease_fence_s", "lease_takeover_s", "store_outage_s", "broker_timeout_s"),
        (_seconds, "a number of seconds above 0"),
    ),
    **dict.fromkeys(
        ("payload_inline_bytes", "payload_max_bytes", "threads", "processes", "max_runs", "broker_prefetch"),
        (_count, "a whole number above 0"),
    ),
    "encrypt_values": (_switch, "true or false"),
    "log_level": (_level, "one of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
    "log_format": (_format, "one of auto, console, json"),
    **dict.fromkeys(("views", "notices"), (_auto, "one of auto, off")),
}


def _checked(name: str, raw: Any, origin: Origin) -> Any:
    kind, expected = _KINDS[name]
    try:
        return kind(raw)
    except (ValueError, TypeError, OverflowError):
        called = origin if origin.startswith(PREFIX) else name
        # The text of a URL may hold a password, that of keys is secret; it is not repeated.
        given = "an empty text" if name.endswith(("_url", "_keys")) else repr(raw)
        raise InputError(
            f"{called}: expected {expected}, given {given}", field=called, expected=expected, given=given
        ) from None


def _check_together(settings: Settings) -> None:
    if not settings.lease_heartbeat_s < settings.lease_fence_s < settings.lease_takeover_s:
        given = f"{settings.lease_heartbeat_s:g} / {settings.lease_fence_s:g} / {settings.lease_takeover_s:g}"
        raise InputError(
            f"LEASE_HEARTBEAT_S / FENCE_S / TAKEOVER_S: expected each above the one before, given {given}",
            field="lease_heartbeat_s", expected="heartbeat < fence < takeover", given=given,
            hint="an owner must fence itself before another may take over (rule B2)",
        )  # fmt: skip
    if settings.payload_inline_bytes > settings.payload_max_bytes:
        raise InputError(
            f"PAYLOAD_INLINE_BYTES is {settings.payload_inline_bytes}, above PAYLOAD_MAX_BYTES, "
            f"{settings.payload_max_bytes}",
            field="payload_inline_bytes",
            expected="at most payload_max_bytes",
            given=str(settings.payload_inline_bytes),
        )
