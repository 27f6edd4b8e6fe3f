"""Presence locks (rule B2): a file per owner, locked while its process lives. The OS frees it even after kill -9.

`flock` and not `lockf`: a POSIX record lock would be given to the same process twice, so that two engines in one
process would take each other for dead. Where there is no `fcntl` nothing is locked and the lease time alone counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock
from urllib.parse import quote, unquote
from weakref import WeakSet

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

_SUFFIX = ".lock"


class PresenceLocks:
    """The locks of the owners of one database, as files in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}
        self._lock = Lock()
        _living.add(self)

    def take(self, owner_id: str) -> None:
        """Lock the file of this owner, which must be new.

        Raises:
            OSError: the folder cannot be made or written.
        """
        if fcntl is None:
            return
        self._folder.mkdir(exist_ok=True)
        with self._lock:
            self._held[owner_id] = _locked(self._path(owner_id))

    def free(self, owner_id: str) -> None:
        """Remove the file and unlock; nothing happens if it is not held here."""
        with self._lock:
            fd = self._held.pop(owner_id, None)
        if fd is not None:
            with suppress(OSError):
                self._path(owner_id).unlink()
            os.close(fd)

    def free_all(self) -> None:
        """Unlock all, leaving the files: what they stand for is over, but nobody has left in good order."""
        with self._lock:
            fds = list(self._held.values())
            self._held.clear()
        for fd in fds:
            os.close(fd)

    def forget(self) -> None:
        """In a forked child: close the parent's descriptors. Takes no lock: the fork may have copied it locked."""
        for fd in self._held.values():
            with suppress(OSError):
                os.close(fd)
        self._held = {}

    def is_free(self, owner_id: str) -> bool:
        """The owner's file is there and nobody holds it: its process is gone. No file tells nothing."""
        fd = _lock_if_free(self._path(owner_id))
        if fd is None:
            return False
        os.close(fd)
        return True

    def bury_dead(self) -> Iterator[str]:
        """Each owner whose file nobody holds. The file is removed when the next one is asked for."""
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            fd = _lock_if_free(path)
            if fd is None:
                continue
            try:
                yield unquote(path.name.removesuffix(_SUFFIX))
                with suppress(OSError):
                    path.unlink()
            finally:
                os.close(fd)

    def _path(self, owner_id: str) -> Path:
        return self._folder / (quote(owner_id, safe="") + _SUFFIX)


def _locked(path: Path) -> int:
    """An open descriptor that holds the lock; it is closed by exec, so a child process does not keep it."""
    assert fcntl is not None
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(fd, fcntl.LOCK_EX)
        # Somebody who cleans up may have removed the file between open and lock: then this is another file's lock.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), path.stat()):
                return fd
        os.close(fd)


def _lock_if_free(path: Path) -> int | None:
    """A descriptor that holds the lock of this file, or None where somebody else does, or there is no such file."""
    if fcntl is None:
        return None
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


_living: WeakSet[PresenceLocks] = WeakSet()


def _after_fork() -> None:
    """A forked child shares its parent's locks as long as it keeps the descriptors: let go of them at once."""
    for locks in list(_living):
        locks.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
