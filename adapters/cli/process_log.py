"""The log lines of a process (conductor, worker, projector): for a person on a terminal, else JSON, one object a line.

Only processes configure logging, and they do it once; the library itself never does.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from flowledger.adapters.settings import Settings

from .printable import printable

#: Attributes that records of ours carry beside the message.
_EXTRA = ("run", "path", "attempt")


def configure(settings: Settings) -> None:
    """Have everything below ``flowledger`` written to stderr, as the settings say."""
    out = logging.StreamHandler(sys.stderr)
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    out.setFormatter(JsonLines() if as_json else ForPeople())
    log = logging.getLogger("flowledger")
    log.addHandler(out)
    log.setLevel(settings.log_level)
    log.propagate = False


class JsonLines(logging.Formatter):
    """One JSON object a line: ``time`` (UTC), ``level``, ``logger``, ``message``, what else is known, ``error``."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {name: value for name in _EXTRA if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False, default=str)


class ForPeople(logging.Formatter):
    """Time, level, message; what comes from users' code is made printable."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class's word
        return printable(super().formatMessage(record))
