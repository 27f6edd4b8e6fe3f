"""One directory per server, and in it one lock that says whether the server is alive.

    servers/node-1/claim.json    who asked for this server, and with which token; never changes
                   lock          locked (flock) for exactly as long as the server process lives
                   state.json    pid, port, peers: written by the server itself
                   server.log    what the server said

A creator or deleter may be killed between any two instructions, and another one may start at any time:

 1. A directory appears with its claim in one rename, so a name belongs to one token or to nobody.
 2. The lock is taken *before* the server is spawned, and the spawned process inherits it. An flock belongs to the
    open file: it stays locked if the creator dies, and is free the moment the server is gone. So "locked" means a
    server lives or is coming up, "free" means there is none, and there is no instant in between.
 3. Only who holds the lock may spawn, or take the directory away (again one rename, then the files are removed).
 4. A lock counts only if the directory is still the one at that path; otherwise it was taken away meanwhile.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Whose server a directory is for. ``owner`` outlives the token: it finds what an unknown token left behind."""

    server_id: str
    token: str
    owner: str


@dataclass(frozen=True, kw_only=True)
class ServerState:
    """What a server says of itself. Stale once its lock is free."""

    server_id: str
    pid: int
    port: int
    peers: dict[str, str]


class Homes:
    """The directories of all servers below ``servers_dir``, which is made when first needed."""

    def __init__(self, servers_dir: Path) -> None:
        self.servers_dir = servers_dir.resolve()

    def path(self, name: str) -> Path:
        return self.servers_dir / name

    def names(self) -> list[str]:
        """The names that are claimed, sorted."""
        if not self.servers_dir.is_dir():
            return []
        return sorted(entry.name for entry in self.servers_dir.iterdir() if not entry.name.startswith("."))

    def claim(self, name: str) -> Claim | None:
        """Who holds ``name``, or None if nobody does."""
        found = _read_json(self.path(name) / "claim.json")
        return Claim(**found) if found is not None else None

    def state(self, name: str) -> ServerState | None:
        """What the server of this name last said, or None if it has not spoken yet."""
        found = _read_json(self.path(name) / "state.json")
        return ServerState(**found) if found is not None else None

    def reserve(self, name: str, claim: Claim) -> bool:
        """Claim ``name`` for ``claim``; False if somebody has been quicker (rule 1)."""
        draft = self.servers_dir / f".new-{name}.{uuid.uuid4().hex}"
        draft.mkdir(parents=True)
        try:
            (draft / "lock").touch()
            (draft / "claim.json").write_text(json.dumps(asdict(claim)), encoding="utf-8")
            draft.rename(self.path(name))
        except OSError as error:
            shutil.rmtree(draft, ignore_errors=True)
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):  # taken, or our draft was swept away
                return False
            raise
        return True

    def try_lock(self, name: str) -> int | None:
        """A file descriptor that holds the lock of ``name``, to be closed by the caller; None while a server lives.

        Raises: FileNotFoundError if there is no such directory any more.
        """
        path = self.path(name) / "lock"
        lock = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _check_same_file(lock, path)
        except BlockingIOError:
            os.close(lock)
            return None
        except BaseException:
            os.close(lock)
            raise
        return lock

    def is_alive(self, name: str) -> bool:
        """Whether the server of this name lives (or is coming up)."""
        try:
            lock = self.try_lock(name)
        except FileNotFoundError:
            return False
        if lock is None:
            return True
        os.close(lock)
        return False

    def remove(self, name: str) -> None:
        """Take the directory away. The caller holds its lock (rule 3)."""
        gone = self._gone(name)
        self.path(name).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def sweep(self, name: str) -> None:
        """Remove what creators and deleters of ``name`` left behind when they were killed.

        Safe beside live ones: a creator whose draft is swept away drafts again. The draft goes away in one rename as
        well, or a creator might put the half of it into place that is not removed yet.
        """
        for draft in self.servers_dir.glob(f".new-{name}.*"):
            with suppress(FileNotFoundError):
                draft.rename(self._gone(name))
        for gone in self.servers_dir.glob(f".gone-{name}.*"):
            shutil.rmtree(gone, ignore_errors=True)

    def _gone(self, name: str) -> Path:
        return self.servers_dir / f".gone-{name}.{uuid.uuid4().hex}"

    def forget_state(self, name: str) -> None:
        """Drop what a dead server once said. The caller holds the lock."""
        with suppress(FileNotFoundError):
            (self.path(name) / "state.json").unlink()


def _check_same_file(opened: int, path: Path) -> None:
    if not os.path.samestat(os.fstat(opened), path.stat()):  # rule 4
        raise FileNotFoundError(path)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found
