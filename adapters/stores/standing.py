"""How a database stands, for people who look after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A database and its log. ``version`` 0: there is no log in it yet; ``generation`` 0 likewise.

    ``generation`` counts the clusters the log has lived in (A5); ``same_cluster`` is False where it was restored and
    nobody has said so. ``alive`` are processes at work on it, ``missing_roles`` the group roles the cluster lacks.
    """

    where: str
    version: int
    needed: int
    generation: int = 0
    same_cluster: bool = True
    alive: Sequence[str] = field(default=())
    missing_roles: Sequence[str] = field(default=())

    @property
    def is_ready(self) -> bool:
        """Whether an engine of this release may start on it."""
        return self.version == self.needed and self.same_cluster
