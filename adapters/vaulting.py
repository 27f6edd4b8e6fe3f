"""Vaults for runs: who gets a key, where it comes from, and what is kept out of every text of this process."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from functools import lru_cache
from hashlib import sha256
from typing import Final
from urllib.parse import unquote, urlsplit

from flowledger.core.plan import Plan
from flowledger.core.redaction import PATTERNS, Redactor
from flowledger.core.vault import Cipher, Codec, Vault, keeps_secrets
from flowledger.events.errors import InputError, KeyMissing, PayloadErased
from flowledger.events.facts import RunSubmitted
from flowledger.events.run_keys import RunKeys

from .encrypting import RunCipher, new_run_key, unwrap
from .keys import Key, new_key, read_keys
from .settings import Settings

#: The codec that encrypts all values of a run with its own key.
RUN_KEY: Final = "run-key"
#: Ciphers of runs that are kept at hand.
_KEPT: Final = 10_000
_LEAST_ENVIRONMENT_CHARS: Final = 8
_SECRET_NAMES: Final = re.compile(
    r"PASS(WORD|WD|PHRASE)|SECRET|TOKEN|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIAL", re.IGNORECASE
)


class _RunKeyCodec:
    """All values of a run encrypted with its key."""

    name = RUN_KEY

    def __init__(self, cipher: Cipher) -> None:
        self._cipher = cipher

    def encode(self, run_id: str, content: bytes) -> bytes:
        return self._cipher.encrypt(content)

    def decode(self, run_id: str, content: bytes) -> bytes:
        return self._cipher.decrypt(content)


class RunVaults:
    """See `core.ports.Vaults`. One per process and app; ``codec`` is the app's own, if it has one."""

    def __init__(
        self, keys: RunKeys, settings: Settings, *, codec: Codec | None = None, now_us: Callable[[], int],
        ephemeral: bool = False,
    ) -> None:  # fmt: skip
        self._rows = keys
        self._codec = codec
        self._now_us = now_us
        self._new_codec = codec.name if codec is not None else RUN_KEY if settings.encrypt_values else None
        self._process_keys = [
            key for key in read_keys(settings.codec_keys or "", setting="FLOWLEDGER_CODEC_KEYS") if key.kind == "aes"
        ]
        if ephemeral and not self._process_keys:  # a log that ends with its process needs no key that outlives it
            self._process_keys = [_memory_key()]
        self.redactor = redactor_of(settings)
        self._ciphers: dict[str, RunCipher] = {}
        self._plain = Vault("", redactor=self.redactor)

    def of(self, run_id: str, plan: Plan, submitted: RunSubmitted | None) -> Vault:
        """The vault of a run; of a new one (``submitted`` None) its key is made if it needs one."""
        codec = self._new_codec if submitted is None else submitted.codec
        needs_key = codec == RUN_KEY or keeps_secrets(plan)
        is_new = submitted is None or not _has_values(submitted)
        if not needs_key and plan.growth is not None:
            return self._growing(run_id, codec)
        return self._vault(run_id, codec, needs_key=needs_key, is_new=is_new)

    def _growing(self, run_id: str, codec: str | None) -> Vault:
        """Of a run that may come to have secrets when its plan grows (E7)."""

        def new_cipher() -> Cipher:
            return self._cipher(run_id, is_new=True)

        cipher = new_cipher() if self._rows.get(run_id) is not None else None
        redactor = self.redactor.learning()
        return Vault(run_id, redactor=redactor, cipher=cipher, codec=self._named(codec, cipher), new_cipher=new_cipher)

    def reading(self, run_id: str, submitted: RunSubmitted) -> Vault:
        """The vault of a run whose plan is not known yet."""
        return self._vault(run_id, submitted.codec, needs_key=_has_values(submitted), is_new=False)

    def of_source(self, run_id: str, submitted: RunSubmitted) -> Vault:
        """The vault of a run that is to be forked (G6): it reads what is there, and makes no key."""
        has_key = _has_values(submitted) or self._rows.get(run_id) is not None
        return self._vault(run_id, submitted.codec, needs_key=has_key, is_new=False)

    def of_forks(self, codec: str | None) -> RunVaults:
        """Where forks of a run with this codec get theirs: what was encrypted is so in its forks, too."""
        if self._new_codec is not None or codec != RUN_KEY:
            return self
        vaults = copy(self)
        vaults._new_codec = RUN_KEY  # noqa: SLF001 - a copy of its own
        return vaults

    @property
    def encodes(self) -> bool:
        """Whether the values of new runs are stored otherwise than they are."""
        return self._new_codec is not None

    def check(self, plan: Plan) -> None:
        """Refuse a run for which there could be no key, before anything of it is written.

        Raises:
            KeyMissing
        """
        if self._new_codec == RUN_KEY or keeps_secrets(plan):
            self._first()

    def forget(self, run_id: str) -> None:
        """Drop what is known of a run's key."""
        self._ciphers.pop(run_id, None)

    def digest(self, inputs: bytes) -> str:
        """What `key=` compares (G8): keyed where values are encrypted, so that nobody can try out inputs (H3)."""
        if self._new_codec != RUN_KEY:
            return sha256(inputs).hexdigest()
        oldest = self._process_keys[-1]  # the same as long as keys are kept, whatever came after it
        return sha256(oldest.content + sha256(inputs).digest()).hexdigest()

    def _vault(self, run_id: str, codec: str | None, *, needs_key: bool, is_new: bool) -> Vault:
        if not needs_key and codec is None:
            return self._plain
        cipher = self._cipher(run_id, is_new=is_new) if needs_key else None
        return Vault(run_id, redactor=self.redactor.learning(), cipher=cipher, codec=self._named(codec, cipher))

    def _named(self, codec: str | None, cipher: Cipher | None) -> Codec | None:
        if codec is None:
            return None
        if codec == RUN_KEY and cipher is not None:
            return _RunKeyCodec(cipher)
        if self._codec is None or self._codec.name != codec:
            raise KeyMissing(
                f"the values of this run were written by the codec {codec!r}, which the app does not have",
                hint="App(…, codec=…) gives it one",
            )
        return self._codec

    def _cipher(self, run_id: str, *, is_new: bool) -> RunCipher:
        found = self._ciphers.get(run_id)
        if found is not None:
            return found
        row = self._rows.get(run_id)
        if row is None:
            if not is_new:
                raise PayloadErased(f"run {run_id}: its key was removed, so its secrets are erased")
            row = self._rows.put(new_run_key(run_id, self._first(), now_us=self._now_us()))
        key = unwrap(row, {key.name: key for key in self._process_keys})
        cipher = RunCipher(run_id, key, self._first())
        if len(self._ciphers) >= _KEPT:
            self._ciphers.clear()
        self._ciphers[run_id] = cipher
        return cipher

    def _first(self) -> Key:
        if not self._process_keys:
            raise KeyMissing("this flow has secrets, and there is no key to encrypt them with")
        return self._process_keys[0]


@lru_cache(maxsize=1)
def _memory_key() -> Key:
    """For logs in memory: made once per process, as they are shared within it."""
    return new_key("memory", "aes")


def _has_values(submitted: RunSubmitted) -> bool:
    """Whether something of the run was encrypted when it was submitted."""
    return bool(submitted.secrets) or submitted.codec == RUN_KEY


# -- what must not be seen ------------------------------------------------------------------------


def redactor_of(settings: Settings, environ: Mapping[str, str] | None = None) -> Redactor:
    """Takes out of texts: what looks like a secret, what the environment says is one, and the process's own.

    Raises:
        InputError: a pattern of the setting is none.
    """
    patterns = (*PATTERNS, *_own_patterns(settings.redact))
    known = {*_from_environment(os.environ if environ is None else environ), *_from_settings(settings)}
    return Redactor(patterns, known)


def _own_patterns(text: str | None) -> Iterator[re.Pattern[str]]:
    for line in (text or "").splitlines():
        if line.strip():
            try:
                yield re.compile(line.strip())
            except re.error as error:
                raise InputError(
                    f"REDACT: {line.strip()!r} is no regular expression: {error}", field="redact",
                    expected="one regular expression per line", given=line.strip(),
                ) from error  # fmt: skip


def _from_environment(environ: Mapping[str, str]) -> Iterator[str]:
    for name, value in environ.items():
        if _SECRET_NAMES.search(name) and not name.endswith("_FILE") and len(value) >= _LEAST_ENVIRONMENT_CHARS:
            yield value


def _from_settings(settings: Settings) -> Iterator[str]:
    for url in (settings.database_url, settings.broker_url):
        try:
            password = urlsplit(url or "").password
        except ValueError:
            continue
        if password:
            yield password
            yield unquote(password)
    for text in (settings.codec_keys, settings.signing_keys):
        for line in re.split(r"[\n,]", text or ""):
            yield line.partition(":")[2].strip()
