"""What a run may write and read: its secrets, its codec, and what must not be seen in its texts.

Everything goes through here on its way to an event, and nothing else knows how: `shielded` is called for each event
that is drafted, `opened` and `revealed` for each value that is read.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from flowledger.events import facts
from flowledger.events.errors import KeyMissing
from flowledger.events.facts import Event, Raw
from flowledger.events.failure import Failure

from . import secret
from .redaction import Redactor
from .secret import Kept
from .typed import Typed, typed

if TYPE_CHECKING:
    from .plan import Node, Plan

#: A known secret of so many characters must not stand in a result that is not annotated as one.
LEAST_LEAK_CHARS: Final = 8
_HIDDEN: Final = "‹encrypted:"
_MOVED: Final = "$moved"
_MOVED_HEAD: Final = b'{"$moved":"'
#: The events that hold a value, and in which field; and those that cannot hold a secret: people and other processes
#: sent them, by way of an inbox.
VALUES: Final[dict[type[Event], str]] = {
    facts.RunSubmitted: "inputs", facts.RoundStarted: "value", facts.TaskSucceeded: "result",
    facts.FlowExpanded: "values", facts.OutcomeIgnored: "result", facts.SignalReceived: "payload",
    facts.RequestAccepted: "result",
}  # fmt: skip
_SENT: Final = frozenset({facts.SignalReceived, facts.RequestAccepted})


class Cipher(Protocol):
    """A run's own key. Deterministic: the same bytes encrypted twice are the same, so that a run stays replayable."""

    def encrypt(self, content: bytes) -> bytes:
        """Encrypted and authenticated."""
        ...

    def decrypt(self, content: bytes) -> bytes:
        """What `encrypt` was given."""
        ...

    def fingerprint(self, content: bytes) -> str:
        """Tells whether two secrets are the same, to who has the key and to nobody else."""
        ...

    @property
    def digest_key(self) -> bytes:
        """A key for digests."""
        ...


class Codec(Protocol):
    """A hook for the bytes of all values of a run: encrypted by a service, compressed, …  Must not block for long.

    ``name`` is written into the log; `decode` must understand for ever what `encode` has written under that name.
    """

    name: str

    def encode(self, run_id: str, content: bytes) -> bytes:
        """Bytes to be stored. The same bytes for the same content, or the run cannot be compared with another."""
        ...

    def decode(self, run_id: str, content: bytes) -> bytes:
        """What `encode` was given."""
        ...


class Vault:
    """One run's. ``cipher`` None: the run has no secrets; ``codec`` None: its values are stored as they are.

    ``new_cipher`` gives a run its key when it turns out to have secrets: its plan may grow (E7).
    """

    def __init__(
        self, run_id: str, *, redactor: Redactor, cipher: Cipher | None = None, codec: Codec | None = None,
        new_cipher: Callable[[], Cipher] | None = None,
    ) -> None:  # fmt: skip
        self.redactor = redactor
        self.cipher = cipher
        self.codec = codec
        self._run_id = run_id
        self._new_cipher = new_cipher

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to encrypt, and cannot come to be."""
        return self.cipher is None and self.codec is None and self._new_cipher is None

    @property
    def codec_name(self) -> str | None:
        """What the log says of the codec."""
        return None if self.codec is None else self.codec.name

    # -- reading

    def opened(self, content: bytes) -> bytes:
        """The content of a payload row that holds a value."""
        return content if self.codec is None else self.codec.decode(self._run_id, content)

    def unsealed(self, content: bytes, moved: Mapping[str, bytes]) -> bytes:
        """What `sealed_value` was given."""
        if self.codec is None or not content.startswith(_MOVED_HEAD):
            return content
        return self.opened(moved[msgspec.json.decode(content, type=dict[str, str])[_MOVED]])

    def revealed(self, content: bytes, moved: Mapping[str, bytes]) -> bytes:
        """A value with its secrets, which from now on are known and kept out of texts."""
        if b'"$' not in content:
            return content

        def find(reference: str) -> bytes | None:
            stored = moved.get(reference)
            return None if stored is None or self.cipher is None else self._noted(self.cipher.decrypt(stored))

        clear = secret.revealed(content, find)
        secret.concealed(clear, lambda text: Kept("", self._noted(text).decode()))
        return clear

    def _noted(self, content: bytes) -> bytes:
        self.redactor.learn(secret.texts_of(content))
        return content

    def hasher(self) -> Any:
        """For digests of inputs: keyed where the values themselves are encrypted (H3)."""
        if self.codec is None or self.cipher is None:
            return sha256()
        return hmac.new(self.cipher.digest_key, digestmod=sha256)

    def shown(self, failure: Failure) -> Failure:
        """A failure as user code may see it: what was encrypted in it readable again."""
        if self.codec is None or not failure.message.startswith(_HIDDEN):
            return failure
        cause = None if failure.cause is None else self.shown(failure.cause)
        return msgspec.structs.replace(
            failure, message=self._unhidden(failure.message), traceback=self._unhidden(failure.traceback), cause=cause
        )

    def said(self, text: str) -> str:
        """A text as it was said, whether it was encrypted or not."""
        return self._unhidden(text)

    def _unhidden(self, text: str) -> str:
        if not text.startswith(_HIDDEN) or self.codec is None:
            return text
        content = b64decode(text.removeprefix(_HIDDEN).removesuffix("›"))
        return self.codec.decode(self._run_id, content).decode()

    # -- writing

    def leaks(self, content: bytes) -> bool:
        """Whether a secret of the run stands in a value that is about to be written."""
        return self.cipher is not None and self.redactor.found_in(
            content.decode("utf-8", "replace"), least_chars=LEAST_LEAK_CHARS
        )

    def concealed(self, content: bytes, put: Callable[[bytes], str]) -> tuple[bytes, tuple[str, ...]]:
        """A value as it may be written, and the digests of the payload rows that hold its secrets."""
        references: list[str] = []

        def keep(text: bytes) -> Kept:
            cipher = self._cipher_for_secrets()
            references.append(put(cipher.encrypt(self._noted(text))))
            return Kept(references[-1], cipher.fingerprint(text))

        return secret.concealed(content, keep), tuple(dict.fromkeys(references))

    def shut(self, content: bytes) -> bytes:
        """Any bytes of the run, encrypted; where it has a codec, by that."""
        if self.codec is not None:
            return self.codec.encode(
                self._run_id, self._cipher_for_secrets().encrypt(content) if self.cipher else content
            )
        return self._cipher_for_secrets().encrypt(content)

    def open(self, content: bytes) -> bytes:
        """What `shut` was given."""
        if self.codec is not None:
            content = self.codec.decode(self._run_id, content)
        if self.codec is None or self.cipher is not None:
            content = self._cipher_for_secrets().decrypt(content)
        return content

    def _cipher_for_secrets(self) -> Cipher:
        if self.cipher is None:
            if self._new_cipher is None:
                raise KeyMissing(f"run {self._run_id}: there is no key for its secrets")
            self.cipher = self._new_cipher()
        return self.cipher

    def stored(self, content: bytes) -> bytes:
        """The bytes of a value as a payload row holds them."""
        return content if self.codec is None else self.codec.encode(self._run_id, content)

    def shielded(self, event: Event, is_secretive: Callable[[str], bool], put: Callable[[bytes], str]) -> Event:
        """The event as it may be written: secrets concealed, texts redacted.

        ``is_secretive`` says it of the value's type (of an input: by name); ``put`` makes a payload row.
        """
        cls = type(event)
        if cls in VALUES and cls not in _SENT:
            event = self._value(event, VALUES[cls], is_secretive, put)
        failures, texts = _texts_in(cls)
        changed: dict[str, Any] = {}
        for name in failures:
            failure = getattr(event, name)
            if failure is not None:
                changed[name] = self._failure(failure)
        for name in texts:
            text = getattr(event, name)
            if text:
                redacted = self.redactor(text)
                changed[name] = self._hidden(redacted) if name == "message" else redacted  # people's reasons are shown
        return msgspec.structs.replace(event, **changed) if changed else event

    def _value(
        self, event: Event, field: str, is_secretive: Callable[[str], bool], put: Callable[[bytes], str]
    ) -> Event:
        content: bytes = bytes(getattr(event, field))
        if b'"$' not in content:
            return event
        if isinstance(event, (facts.RunSubmitted, facts.FlowExpanded)):
            found = self._inputs(content, is_secretive, put)
        elif is_secretive(""):
            found = self.concealed(content, put)
        else:
            return event
        changed: dict[str, Any] = {field: Raw(found[0]), "secrets": found[1]}
        return msgspec.structs.replace(event, **changed)

    def _inputs(
        self, content: bytes, is_secretive: Callable[[str], bool], put: Callable[[bytes], str]
    ) -> tuple[bytes, tuple[str, ...]]:
        members, references = dict[str, Raw](), list[str]()
        for name, value in msgspec.json.decode(content, type=dict[str, Raw]).items():
            members[name] = value
            if is_secretive(name):
                concealed, found = self.concealed(bytes(value), put)
                members[name] = Raw(concealed)
                references += found
        return msgspec.json.encode(members), tuple(dict.fromkeys(references))

    def sealed_value(self, content: bytes, put: Callable[[bytes], str]) -> tuple[bytes, tuple[str, ...]]:
        """A value that has no place to be moved out to, in a run whose values are encoded."""
        digest = put(self.stored(content))
        return msgspec.json.encode({_MOVED: digest}), (digest,)

    def _failure(self, failure: Failure) -> Failure:
        redact = self.redactor
        cause = None if failure.cause is None else self._failure(failure.cause)
        if self.codec is not None and failure.message.startswith(_HIDDEN):
            return failure
        return msgspec.structs.replace(
            failure,
            message=self._hidden(redact(failure.message)),
            traceback=self._hidden(redact(failure.traceback)) if failure.traceback else "",
            cause=cause,
        )

    def _hidden(self, text: str) -> str:
        """A text of a run whose values are encoded: it may hold them."""
        if self.codec is None:
            return text
        return f"{_HIDDEN}{b64encode(self.codec.encode(self._run_id, text.encode())).decode()}›"


@cache
def _texts_in(cls: type[Event]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The fields of an event class that hold a failure, and those that hold what somebody has said."""
    types = {field.name: field.type for field in msgspec.structs.fields(cls)}
    failures = tuple(name for name in ("failure", "error") if name in types)
    return failures, tuple(name for name in ("message", "reason", "why") if types.get(name) is str)


#: The events that hold no value and nothing that somebody has said.
BARE: Final[frozenset[type[Event]]] = frozenset(
    cls for cls in facts.EVENTS if cls not in VALUES and _texts_in(cls) == ((), ())
)


def value_type(node: Node) -> Typed | None:
    """The type of the value that a node gives: an atom's result, a retry's value."""
    if node.task is not None:
        return node.task.result
    return None if node.retry is None else typed(node.retry.value_type, where="retry")


def keeps_secrets(plan: Plan) -> bool:
    """Whether a run of this plan may have secrets to keep: in its inputs, its results, its retries' values."""
    for each in plan.inputs.values():
        if each.secretive:
            return True
    for node in plan.nodes:  # a loop, no generator: this is asked for every run, and plans are long
        if node.task is not None:
            if node.task.result.secretive:
                return True
        elif _wants_secrets(node):
            return True
    return False


def _wants_secrets(node: Node) -> bool:
    """Whether an expansion is made from secrets, or a retry tries them."""
    if node.expansion is not None:
        return any(each.secretive for each in node.expansion.typed.values())
    return node.retry is not None and typed(node.retry.value_type, where="retry").secretive
