"""Where notices go: a webhook, a mailbox, a command. Each sends one notice, or raises `NotDelivered`.

A notice is JSON: ``id`` (the same when it comes again), ``kind``, ``time_us``, ``app``, ``flow``, ``run``, ``event``,
``state``, ``key``, ``at`` and ``text``. Inputs, results and tracebacks are not in it.
"""

from __future__ import annotations

import hmac
import json
import smtplib
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any, Final, Protocol
from urllib.parse import unquote, urlsplit

from flowledger.events.errors import InputError

from .web import post

#: How long sending one notice may take.
TIMEOUT_S: Final = 10.0

Notice = Mapping[str, Any]


class NotDelivered(Exception):
    """The notice did not get there; ``again``: it may the next time."""

    def __init__(self, message: str, *, again: bool = True) -> None:
        super().__init__(message)
        self.again = again


class Channel(Protocol):
    """A way to somebody."""

    def send(self, notice: Notice, *, now_s: int) -> None:
        """Send one notice.

        Raises:
            NotDelivered
        """
        ...

    def describe(self) -> str:
        """The channel in a few words, without secrets."""
        ...


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """POSTs the notice as JSON, signed: ``Flowledger-Signature: t=SECONDS,v1=HEX``, the HMAC-SHA-256 of ``t.body``.

    ``secret`` is the key; compare with `hmac.compare_digest`, and refuse a ``t`` that is old. ``Flowledger-Delivery``
    is the notice's id. Only public addresses are called, and redirects are not followed; ``private`` names the hosts in
    one's own network that may be called nevertheless.

    Raises:
        InputError: the URL is not http or https, or the secret is shorter than 16 characters.
    """

    url: str
    secret: str = field(repr=False)
    private: Sequence[str] = ()

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise InputError(
                f"{self.describe()}: a webhook is http:// or https:// with a host, and without a password",
                field="url", expected="https://host/path",
            )  # fmt: skip
        if len(self.secret) < 16:
            raise InputError("a webhook's secret has at least 16 characters", field="secret", expected="16 characters")

    def send(self, notice: Notice, *, now_s: int) -> None:
        body = json.dumps(notice, ensure_ascii=True, sort_keys=True).encode()
        headers = {
            "Content-Type": "application/json",
            "Flowledger-Delivery": str(notice["id"]),
            "Flowledger-Signature": f"t={now_s},v1={signature(self.secret, now_s, body)}",
        }
        try:
            status = post(self.url, body, headers, private=self.private, timeout_s=TIMEOUT_S)
        except (OSError, ValueError) as error:
            raise NotDelivered(f"{self.describe()}: {error}") from error
        if not 200 <= status < 300:
            raise NotDelivered(f"{self.describe()} answered {status}", again=status >= 500 or status in (408, 425, 429))

    def describe(self) -> str:
        parts = urlsplit(self.url)
        return f"webhook {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def signature(secret: str, at_s: int, body: bytes) -> str:
    """What a receiver of a webhook computes, too: HMAC-SHA-256 in hexadecimal digits."""
    return hmac.new(secret.encode(), f"{at_s}.".encode() + body, "sha256").hexdigest()


@dataclass(frozen=True, kw_only=True)
class Email:
    """Mails the notice as text: ``server`` is ``smtp://user:password@host:587`` (STARTTLS), ``smtps://…``, or
    ``smtp+plain://host:25`` where a relay on one's own machine takes it without encryption. Else the server must show a
    certificate for this host, of somebody whom this machine trusts, before it is told anything.

    Raises:
        InputError: the server's URL does not fit, or nobody is to get it.
    """

    to: Sequence[str]
    sender: str
    server: str = field(repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.server)
        if parts.scheme not in ("smtp", "smtps", "smtp+plain") or not parts.hostname or not self.to:
            raise InputError(
                "e-mail: the server is smtp://, smtps:// or smtp+plain:// with a host, and somebody gets it",
                field="server", expected="smtp://user:password@host:587",
            )  # fmt: skip
        if any("\n" in part or "\r" in part for part in (*self.to, self.sender)):
            raise InputError("e-mail: an address has one line", field="to")

    def send(self, notice: Notice, *, now_s: int) -> None:
        try:
            self._send(_message(self, notice))
        except smtplib.SMTPResponseException as error:
            raise NotDelivered(f"{self.describe()}: {error.smtp_code}", again=error.smtp_code < 500) from error
        except (OSError, smtplib.SMTPException) as error:
            raise NotDelivered(f"{self.describe()}: {error}") from error

    def _send(self, message: EmailMessage) -> None:
        parts = urlsplit(self.server)
        place = (parts.hostname or "", parts.port or 0)
        checked = ssl.create_default_context()  # smtplib's own takes any certificate
        with (
            smtplib.SMTP_SSL(*place, timeout=TIMEOUT_S, context=checked)
            if parts.scheme == "smtps"
            else smtplib.SMTP(*place, timeout=TIMEOUT_S)
        ) as smtp:
            if parts.scheme == "smtp":
                smtp.starttls(context=checked)
            if parts.username:
                smtp.login(unquote(parts.username), unquote(parts.password or ""))
            smtp.send_message(message)

    def describe(self) -> str:
        return f"e-mail to {', '.join(self.to)}"


def _message(channel: Email, notice: Notice) -> EmailMessage:
    message = EmailMessage()
    subject = " ".join(f"[flowledger] {notice['kind']}: {notice['flow']} {notice['run']}".split())
    message["Subject"], message["From"], message["To"] = subject[:200], channel.sender, ", ".join(channel.to)
    message["Message-ID"] = f"<{notice['id']}@flowledger>"
    message.set_content("\n".join(f"{name}: {value}" for name, value in notice.items() if value not in (None, "")))
    return message


@dataclass(frozen=True, kw_only=True)
class Command:
    """Runs a program with the notice as JSON on its standard input; no shell. It is delivered if the exit code is 0.

    Raises:
        InputError: there is no program.
    """

    argv: Sequence[str]

    def __post_init__(self) -> None:
        if isinstance(self.argv, str) or not self.argv or not all(self.argv[:1]):
            raise InputError(
                "a command is a list: the program, then its arguments", field="argv", expected='["program", "argument"]'
            )

    def send(self, notice: Notice, *, now_s: int) -> None:
        content = json.dumps(notice, ensure_ascii=True, sort_keys=True).encode()
        try:
            done = subprocess.run(  # noqa: S603 - the app's own argv, never the log's
                list(self.argv), input=content, capture_output=True, timeout=TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotDelivered(f"{self.describe()}: {error}") from error
        if done.returncode:
            raise NotDelivered(f"{self.describe()} ended with {done.returncode}")

    def describe(self) -> str:
        return f"command {self.argv[0]}"
