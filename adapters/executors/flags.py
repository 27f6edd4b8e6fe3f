"""What processes of one machine see of an attempt that one of them makes for another: begun, and not wanted any more.

Files in a folder of the engine's, because nothing else is there in whatever process an executor has a body run. Where
the folder cannot be seen, on another machine, a body always seems wanted, and never to have begun before.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp


def new_folder() -> str:
    """A folder that only this user can see into."""
    return mkdtemp(prefix="flowledger-")


class Flags:
    """The flags of one attempt; ``token`` is nobody else's."""

    def __init__(self, folder: str, token: str) -> None:
        self._folder = Path(folder)
        self._begun = self._folder / f"{token}.begun"
        self._unwanted = self._folder / f"{token}.unwanted"

    # -- where the body runs --------------------------------------------------------------------

    def is_seen(self) -> bool:
        """Whether the folder is there."""
        return self._folder.is_dir()

    def begin(self) -> bool:
        """Say that its body begins; False: it has begun before, and whoever made it is gone."""
        try:
            os.close(os.open(self._begun, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return False
        except OSError:
            return True
        return True

    def is_unwanted(self) -> bool:
        """Whether nobody wants it any more; also where the whole folder has gone."""
        return self._unwanted.exists() or not self.is_seen()

    # -- where it is waited for -----------------------------------------------------------------

    def is_begun(self) -> bool:
        """Whether its body has begun, as far as can be seen from here."""
        return self._begun.exists()

    def drop(self) -> None:
        """Say that nobody wants it any more."""
        with suppress(OSError):
            self._unwanted.touch(mode=0o600)

    def remove(self) -> None:
        """It is over."""
        for path in (self._begun, self._unwanted):
            with suppress(OSError):
                path.unlink()


def remove_folder(folder: str) -> None:
    """Nothing in it is wanted any more."""
    rmtree(folder, ignore_errors=True)
