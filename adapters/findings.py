"""What a verification has gone through, and what it found."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that does not hold. ``version`` is the first bad event of the run; 0: the run as a whole, or a seal."""

    run_id: str = ""
    version: int = 0
    seal: int = 0
    what: str


@dataclass(slots=True, kw_only=True)
class Verified:
    """What has been verified. It holds iff there are no ``findings``."""

    runs: int = 0
    events: int = 0
    payloads: int = 0
    seals: int = 0
    findings: list[Finding] = field(default_factory=list[Finding])
    #: Names of the keys that signed seals, by public key (hex); and whether all of them are trusted.
    signed_by: dict[str, str] = field(default_factory=dict[str, str])
    trusted: bool = True

    @property
    def holds(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def add(self, other: Verified) -> None:
        """Count in what else has been verified."""
        self.runs += other.runs
        self.events += other.events
        self.payloads += other.payloads
        self.findings += other.findings
        self.signed_by |= other.signed_by
        self.trusted = self.trusted and other.trusted
