"""What a cluster description may say. Failures are asked for here, so that a demo can show what happens then."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Node(BaseModel):
    """One server to be made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", description="also the name of its directory")
    port: int = Field(default=0, ge=0, le=65535, description="a wish: 0, or a port that is taken, gives any free one")
    warm_up_s: float = Field(default=0.8, ge=0, le=600, description="how long /health says 503 after the start")
    fail_times: int = Field(default=0, ge=0, description="so many tries bring up a server that never is healthy")


class Cluster(BaseModel):
    """The servers of a cluster; each is told of all of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    nodes: list[Node] = Field(min_length=1)
    fail_configure: bool = Field(default=False, description="name a member that does not exist: it is never confirmed")

    @model_validator(mode="after")
    def _names_are_unique(self) -> Cluster:
        twice = [name for name, count in Counter(node.name for node in self.nodes).items() if count > 1]
        if twice:
            raise ValueError(f"node names must be unique, given twice: {', '.join(twice)}")
        return self


def read_cluster(path: Path) -> Cluster:
    """The cluster in a file of run inputs, ``{"cluster": {"nodes": [...]}}``, as `flowledger run --input` takes it.

    Raises: OSError, or pydantic's ValidationError naming the field.
    """
    return Cluster.model_validate(json.loads(path.read_text(encoding="utf-8"))["cluster"])
