"""What processes say of an attempt that one makes for another: begun, how far it has got, and not wanted any more.

Files in a folder of the engine's, because nothing else is there in whatever process an executor has a body run. On
another machine it is seen where `SHARED_FOLDER` says a folder that all of them share. Where it cannot be seen, a body
always seems wanted, and never to have begun before.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import msgspec

from flowledger.events.errors import InputError
from flowledger.events.facts import Progress


def new_folder(shared: str | None = None) -> str:
    """A folder that only this user can see into; in ``shared``, where that is given.

    Raises:
        InputError: nothing can be made in ``shared``.
    """
    try:
        return mkdtemp(prefix="flowledger-", dir=shared)
    except OSError as error:
        if shared is None:
            raise
        raise InputError(
            f"SHARED_FOLDER: no folder can be made in {shared!r}: {error}",
            field="shared_folder", expected="a folder that can be written to", given=shared,
            hint="mount it here and on all machines of the executor, under the same path",
        ) from error  # fmt: skip


class Flags:
    """The flags of one attempt; ``token`` is nobody else's."""

    def __init__(self, folder: str, token: str) -> None:
        self._folder = Path(folder)
        self._begun = self._folder / f"{token}.begun"
        self._unwanted = self._folder / f"{token}.unwanted"
        self._progress = self._folder / f"{token}.progress"

    # -- where the body runs --------------------------------------------------------------------

    def is_seen(self) -> bool:
        """Whether the folder is there."""
        return self._folder.is_dir()

    def begin(self) -> bool:
        """Say that its body begins; False: it has begun before, and whoever made it is gone, or it was taken back.

        Raises:
            OSError: the folder cannot be seen.
        """
        try:
            os.close(os.open(self._begun, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return False
        return True

    def say(self, progress: Progress) -> None:
        """Say how far the body has got."""
        begun_with = self._progress.with_suffix(".saying")
        with suppress(OSError):  # the folder is not here, or its engine has gone
            begun_with.write_bytes(msgspec.json.encode(progress))
            begun_with.replace(self._progress)

    def is_unwanted(self) -> bool:
        """Whether nobody wants it any more; also where the whole folder has gone."""
        return self._unwanted.exists() or not self.is_seen()

    # -- where it is waited for -----------------------------------------------------------------

    def is_begun(self) -> bool:
        """Whether its body has begun, as far as can be seen from here."""
        return self._begun.exists()

    def said(self) -> Progress | None:
        """How far the body has got, as it said last."""
        try:
            return msgspec.json.decode(self._progress.read_bytes(), type=Progress)
        except (OSError, msgspec.DecodeError):
            return None

    def take_back(self) -> bool:
        """Keep its body from beginning; False: it has begun."""
        try:
            return self.begin()
        except OSError:
            return False

    def drop(self) -> None:
        """Say that nobody wants it any more."""
        with suppress(OSError):
            self._unwanted.touch(mode=0o600)

    def remove(self) -> None:
        """It is over."""
        for path in (self._begun, self._unwanted, self._progress):
            with suppress(OSError):
                path.unlink()


def remove_folder(folder: str) -> None:
    """Nothing in it is wanted any more."""
    rmtree(folder, ignore_errors=True)
