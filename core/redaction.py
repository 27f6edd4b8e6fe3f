"""Taking secrets out of texts before they are written: messages, tracebacks, reasons.

An immutable log cannot be cleaned later, and what is masked only when shown has been stored. Two ways: texts that are
known to be secret, and patterns of what secrets look like.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

REDACTED: Final = "‹redacted›"
#: Shorter texts would be found in half of all words.
LEAST_CHARS: Final = 4

_NAMES: Final = (
    r"pass(?:word|wd|phrase)?|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?|authorization"
)
_VALUE: Final = r"(?P<secret>\"[^\"\n]{1,2000}\"|'[^'\n]{1,2000}'|[^\s'\",;)}\]&]{1,2000})"
#: What is replaced is the group ``secret``, or all of it.
PATTERNS: Final[tuple[re.Pattern[str], ...]] = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?P<secret>.*?)(?:-----END|\Z)",
        r"://(?P<secret>[^\s/:@'\"]*:[^\s@'\"]+)@",
        r"(?i:\b(?:bearer|basic))\s+(?P<secret>[A-Za-z0-9._~+/-]{8,}=*)",
        rf"(?i:[\w-]{{0,40}}(?:{_NAMES})[\w-]{{0,40}})['\"]?\s{{0,4}}[:=]\s{{0,4}}{_VALUE}",
        r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
        r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
        r"\bgh[pousr]_[A-Za-z0-9]{20,}",
        r"\bgithub_pat_[A-Za-z0-9_]{20,}",
        r"\bglpat-[A-Za-z0-9_-]{16,}",
        r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
        r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}",
        r"\bAIza[0-9A-Za-z_-]{30,}",
    )
)


class Redactor:
    """Takes secrets out of texts: by ``patterns``, and those ``known`` from the start or learnt later."""

    def __init__(self, patterns: Iterable[re.Pattern[str]] = PATTERNS, known: Iterable[str] = ()) -> None:
        self._patterns = tuple(patterns)
        self._known: set[str] = set()
        self._longest_first: list[str] = []
        self.learn(known)

    def learning(self) -> Redactor:
        """One that knows as much and can learn without this one."""
        other = Redactor(self._patterns)
        other._known = set(self._known)
        other._longest_first = list(self._longest_first)
        return other

    def learn(self, texts: Iterable[str]) -> None:
        """Never let these texts pass from now on."""
        new = {form for text in texts for form in _forms(text) if len(text) >= LEAST_CHARS}
        if not new <= self._known:
            self._known = self._known | new
            self._longest_first = sorted(self._known, key=lambda text: (-len(text), text))

    def found_in(self, text: str, *, least_chars: int) -> bool:
        """Whether a known secret of at least so many characters stands in a text."""
        return any(len(known) >= least_chars and known in text for known in self._longest_first)

    def __call__(self, text: str) -> str:
        """The text without its secrets."""
        if not text:
            return text
        for known in self._longest_first:
            if known in text:
                text = text.replace(known, REDACTED)
        for pattern in self._patterns:
            text = pattern.sub(_redacted, text)
        return text


def _redacted(found: re.Match[str]) -> str:
    whole = found[0]
    if "secret" not in found.re.groupindex or found["secret"] is None:
        return REDACTED
    start, end = (place - found.start() for place in found.span("secret"))
    return whole if found["secret"] == REDACTED else f"{whole[:start]}{REDACTED}{whole[end:]}"


def _forms(text: str) -> Iterator[str]:
    """A secret as it is, as Python and JSON would quote it, and as it stands in a URL."""
    yield text
    quoted = repr(text)[1:-1]
    if quoted != text:
        yield quoted
    in_json = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    if in_json != text:
        yield in_json
    in_url = "".join(c if c.isascii() and (c.isalnum() or c in "-._~") else _percent(c) for c in text)
    if in_url != text:
        yield in_url


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "replace"))
