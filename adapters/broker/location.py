"""Where the broker is, out of ``BROKER_URL``. No text made here shows a password.

amqp://user:password@host:5672/vhost      RabbitMQ; amqps:// with TLS, ?cafile=FILE for an authority of one's own
redis://:password@host:6379/0             Redis (`flowledger[redis]`); rediss:// with TLS
memory://                                 within this process, for tests
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from flowledger.events.errors import InputError

Kind = Literal["amqp", "redis", "memory"]

_KINDS: Final[dict[str, tuple[Kind, bool, int | None]]] = {
    "amqp": ("amqp", False, 5672),
    "amqps": ("amqp", True, 5671),
    "redis": ("redis", False, 6379),
    "rediss": ("redis", True, 6379),
    "memory": ("memory", False, None),
}
_EXPECTED: Final = "amqp://user:password@host:port/vhost, amqps://…, redis://…, rediss://… or memory://"


@dataclass(frozen=True)
class Location:
    """One broker. ``place`` is RabbitMQ's virtual host, or the number of Redis' database."""

    kind: Kind
    tls: bool = False
    host: str = ""
    port: int | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    place: str = ""
    cafile: str | None = None

    def __str__(self) -> str:
        if self.kind == "memory":
            return "memory://"
        scheme = self.kind + ("s" if self.tls else "")
        user = f"{self.user}@" if self.user else ""
        return f"{scheme}://{user}{self.host}:{self.port}/{self.place}"


def locate(url: str) -> Location:
    """The broker that a URL names.

    Raises:
        InputError: it names none. The message repeats no password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _wrong("it cannot be read") from error
    known = _KINDS.get(parts.scheme)
    if known is None:
        raise _wrong(f"brokers of the kind {parts.scheme!r} are not known" if parts.scheme else "it names no kind")
    kind, tls, usual = known
    options = _options(parts, tls=tls)
    if kind == "memory":
        return Location(kind)
    if not parts.hostname:
        raise _wrong("it names no host")
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password is not None else None
    place = _place(kind, unquote(parts.path.removeprefix("/")))
    return Location(kind, tls, parts.hostname, port or usual, user, password, place, options.get("cafile"))


def _options(parts: SplitResult, *, tls: bool) -> dict[str, str]:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(options.keys() - ({"cafile"} if tls else set[str]()))
    if unknown or parts.fragment:
        raise _wrong(f"{', '.join(unknown) or 'what follows #'} means nothing here")
    return options


def _place(kind: Kind, path: str) -> str:
    if kind == "amqp":
        return path or "/"
    if path and not re.fullmatch(r"[0-9]{1,4}", path):
        raise _wrong("the path is the number of a database")
    return path or "0"


def _wrong(what: str) -> InputError:
    return InputError(
        f"BROKER_URL: {what}; expected {_EXPECTED}", field="FLOWLEDGER_BROKER_URL", expected=_EXPECTED,
        hint="a password with / or @ or # in it is written with %2F, %40, %23",
    )  # fmt: skip
