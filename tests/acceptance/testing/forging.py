"""A history with an event left out, and the chain made anew: intact to look at, and yet no valid run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flowledger.events.chain import GENESIS, link


def without_last_start(history: Path) -> Path:
    """The file without its last TaskStarted."""
    content = json.loads(history.read_text())
    rows: list[dict[str, Any]] = content["events"]
    rows.remove([row for row in rows if row["type"] == "TaskStarted"][-1])
    head = GENESIS
    for version, row in enumerate(rows, 1):
        row["version"] = version
        head = link(
            head, content["run_id"].encode(), version, row["type"], row["schema_version"], row["path"], row["time_us"],
            row["actor"], row["payload"].encode(),
        )  # fmt: skip
        row["hash"] = head.hex()
    history.write_text(json.dumps(content))
    return history
