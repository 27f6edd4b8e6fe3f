"""`ctx.log`: what a body logs, without its secrets."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping
from logging import Logger, LoggerAdapter
from typing import Any, cast


class RedactingLog(LoggerAdapter[Logger]):
    """Puts ``extra`` on every record, and takes out of its text what must not be seen."""

    def __init__(self, logger: Logger, extra: Mapping[str, object], redacted: Callable[[str], str]) -> None:
        super().__init__(logger, dict(extra))
        self._redacted = redacted

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """See `logging.Logger.log`. The text is made here, and a traceback becomes part of it."""
        if not self.isEnabledFor(level):
            return
        text, options = self.process(str(msg) % args if args else str(msg), kwargs)
        error = options.pop("exc_info", None)
        if error:
            text = f"{text}\n{_formatted(error)}"
        options["stacklevel"] = options.get("stacklevel", 1) + 1
        self.logger.log(level, "%s", self._redacted(text), **options)


def _formatted(error: Any) -> str:
    """The traceback of ``exc_info``: an exception, what `sys.exc_info` gives, or anything true."""
    exception = sys.exc_info()[1]
    if isinstance(error, BaseException):
        exception = error
    elif isinstance(error, tuple):
        exception = cast("tuple[Any, BaseException | None, Any]", error)[1]
    return "" if exception is None else "".join(traceback.format_exception(exception)).rstrip()
