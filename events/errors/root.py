"""The root of all errors: a code, a message, and what to do next."""

from __future__ import annotations

from typing import ClassVar

DOCS_URL = "docs/errors.md"


class FlowledgerError(Exception):
    """The root of the tree: catch it to catch everything flowledger raises."""

    code: ClassVar[str] = "FL000"
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint

    def __init_subclass__(cls) -> None:
        """The tree's own classes are known by the package's name: their full names stand in logs."""
        if cls.__module__.startswith(f"{__package__}."):
            cls.__module__ = str(__package__)

    @property
    def docs_url(self) -> str:
        """Where this code is explained, relative to the project's root."""
        return f"{DOCS_URL}#{self.code.lower()}"

    def __str__(self) -> str:
        hint = f"\n  hint: {self.hint}" if self.hint else ""
        return f"[{self.code}] {self.message}{hint}"
