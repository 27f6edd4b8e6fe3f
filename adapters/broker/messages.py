"""Messages between engines and workers: JSON, signed, with an end. Nothing in one is read before its signature holds.

    {"v":1,"key":"prod-2026","expires":1764144000000000,"app":"shop","queue":"mail","mac":"9f…","content":{…}}

There is one way to write each message, byte for byte, so that whoever changes a byte changes what was signed. The
signature is an HMAC-SHA-256 over everything else: version, name of the key, end, app, queue, content.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from flowledger.adapters.keys import Key, read_keys
from flowledger.events.errors import InputError, PayloadTooLarge

#: The version of what is written here; another one is refused.
VERSION: Final = 1
CONTENT_TYPE: Final = "application/json"
#: The longest message, in bytes. What is larger goes by reference.
MAX_BYTES: Final = 1_048_576
#: How deep lists and objects may be nested.
MAX_DEPTH: Final = 200

_PURPOSE: Final = b"flowledger message\n"
_STRING: Final = rb'"(?:[^"\\\x00-\x1f]|\\.){0,2000}+"'
_FORM: Final = re.compile(
    rb'(?P<head>\{"v":1,"key":"(?P<key>[A-Za-z0-9][A-Za-z0-9._-]{0,39})","expires":(?P<expires>[0-9]{1,18}),'
    rb'"app":(?P<app>%b),"queue":(?P<queue>%b)),"mac":"(?P<mac>[0-9a-f]{64})","content":(?P<content>.+)\}'
    % (_STRING, _STRING),
    re.DOTALL,
)
_VERSIONED: Final = re.compile(rb'\{"v":([0-9]{1,9})[,}]')
_BRACKETS: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


class Unreadable(Exception):
    """A message that is not taken. Its text is the reason, for people; nothing of the message is in it."""


class Expected(NamedTuple):
    """What a message must be to be taken: signed by one of ``keys``, for this queue of this app, now."""

    keys: dict[str, Key]
    app: str
    queue: str
    now_us: int
    max_bytes: int = MAX_BYTES


def message_keys(signing_keys: str | None) -> list[Key]:
    """The keys that sign messages, out of the setting ``signing_keys``: its first ``hmac`` key signs, all verify.

    Raises:
        InputError: there is none, or the setting cannot be read.
    """
    keys = [key for key in read_keys(signing_keys or "", setting="FLOWLEDGER_SIGNING_KEYS") if key.kind == "hmac"]
    if not keys:
        raise InputError(
            "there is no key to sign messages with", field="FLOWLEDGER_SIGNING_KEYS", expected="an hmac key",
            hint="`flowledger keys new --kind hmac --name … --out FILE` makes one; engines and workers need the same: "
            "name the file in FLOWLEDGER_SIGNING_KEYS_FILE",
        )  # fmt: skip
    return keys


def packed(
    content: bytes, *, key: Key, app: str, queue: str, expires_us: int, max_bytes: int = MAX_BYTES
) -> bytes:  # fmt: skip
    """A message with this content, which is JSON.

    Raises:
        PayloadTooLarge: the message would be longer than ``max_bytes``.
        InputError: the content is nested too deeply.
    """
    head = b'{"v":%d,"key":%b,"expires":%d,"app":%b,"queue":%b' % (
        VERSION, _json(key.name), expires_us, _json(app), _json(queue)
    )  # fmt: skip
    message = b'%b,"mac":"%b","content":%b}' % (head, _mac(key, head, content), content)
    if len(message) > max_bytes:
        raise PayloadTooLarge(f"a message of {len(message)} bytes, where at most {max_bytes} are allowed")
    if is_too_deep(message):
        raise InputError(f"what is sent to workers is nested more than {MAX_DEPTH} deep", field="content")
    return message


def unpacked(body: bytes, content_type: object, content_encoding: object, expected: Expected) -> bytes:
    """The content of a message that came in.

    Raises:
        Unreadable: it is not to be taken.
    """
    if content_type != CONTENT_TYPE or content_encoding not in (None, "", "utf-8"):
        raise Unreadable(f"its content type is not {CONTENT_TYPE}")
    if len(body) > expected.max_bytes:
        raise Unreadable(f"it is longer than {expected.max_bytes} bytes")
    if is_too_deep(body):
        raise Unreadable(f"it is nested more than {MAX_DEPTH} deep")
    found = _FORM.fullmatch(body)
    if found is None:
        raise Unreadable(_why_no_message(body))
    key = expected.keys.get(found["key"].decode())
    if key is None:
        raise Unreadable("it is signed with a key that is not known here")
    if not hmac.compare_digest(_mac(key, found["head"], found["content"]), found["mac"]):
        raise Unreadable("its signature does not hold")
    if found["app"] != _json(expected.app) or found["queue"] != _json(expected.queue):
        raise Unreadable("it was meant for another queue")
    if int(found["expires"]) <= expected.now_us:
        raise Unreadable("it has expired")
    return found["content"]


def is_too_deep(content: bytes) -> bool:
    """Whether lists and objects are nested more than `MAX_DEPTH` deep. Needs no stack for it."""
    if content.count(b"[") + content.count(b"{") <= MAX_DEPTH:
        return False
    depth = 0
    for found in _BRACKETS.finditer(content):
        first = found[0][:1]
        if first in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif first != b'"':
            depth -= 1
    return False


def by_name(keys: Sequence[Key]) -> dict[str, Key]:
    """Keys by their names."""
    return {key.name: key for key in keys}


def _why_no_message(body: bytes) -> str:
    versioned = _VERSIONED.match(body)
    if versioned and int(versioned[1]) != VERSION:
        return f"its version is {int(versioned[1])}; known here is {VERSION}"
    return "it is no message of this protocol"


def _mac(key: Key, head: bytes, content: bytes) -> bytes:
    return hmac.digest(key.content, b"%b%b\n%b" % (_PURPOSE, head, content), "sha256").hex().encode()


def _json(text: str) -> bytes:
    return msgspec.json.encode(text)
