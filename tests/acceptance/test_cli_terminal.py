"""What a person at a terminal sees, on a real (pseudo) terminal of 80 by 24."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.acceptance.command_line import environment

RUN = ("run", "buy", "--app", "shop_app:app", "--set", "order.item=tea")
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9]m")
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


@pytest.fixture(autouse=True)
def _shop(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("shop.py"), tmp_path / "shop_app.py")


def on_a_terminal(cwd: Path, *argv: str, answers: str = "", **more: str) -> tuple[int, str]:
    """Exit code, and everything that was written to the terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    set_up = {"TERM": "xterm-256color", "CI": "", **more}
    process = subprocess.Popen(
        [sys.executable, "-m", "flowledger", *argv],
        cwd=cwd, env=environment(**set_up), stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, answers.encode())
    seen = b""
    while True:
        try:
            page = os.read(ours, 65536)
        except OSError:  # nobody has the other end any more
            break
        if not page:
            break
        seen += page
    os.close(ours)
    return process.wait(timeout=60), seen.decode()


def test_a_run_is_drawn_as_a_tree_and_the_cursor_comes_back(tmp_path: Path) -> None:
    code, seen = on_a_terminal(tmp_path, *RUN)
    assert code == 0
    assert "├ " in seen
    assert COLOUR.search(seen)
    assert seen.count(HIDE_CURSOR) == seen.count(SHOW_CURSOR) == 1
    assert "SUCCEEDED" in seen


@pytest.mark.parametrize("more", [{"CI": "1"}, {"TERM": "dumb"}])
def test_nothing_is_redrawn_in_ci_or_on_a_dumb_terminal(tmp_path: Path, more: dict[str, str]) -> None:
    code, seen = on_a_terminal(tmp_path, *RUN, **more)
    assert code == 0
    assert HIDE_CURSOR not in seen
    assert "reserve  started" in seen


def test_plain_has_no_escapes_at_all(tmp_path: Path) -> None:
    code, seen = on_a_terminal(tmp_path, *RUN, "--plain")
    assert code == 0
    assert "\x1b" not in seen
    _, shown = on_a_terminal(tmp_path, "show", "@last", "--plain")
    assert "\x1b" not in shown


def test_no_color_is_minded(tmp_path: Path) -> None:
    on_a_terminal(tmp_path, *RUN)
    assert COLOUR.search(on_a_terminal(tmp_path, "ls")[1])
    assert not COLOUR.search(on_a_terminal(tmp_path, "ls", NO_COLOR="1")[1])


def test_a_person_is_asked_for_reason_and_confirmation(tmp_path: Path) -> None:
    on_a_terminal(tmp_path, *RUN, "--key", "k")
    revert = ("revert", "k", "--app", "shop_app:app")
    code, seen = on_a_terminal(tmp_path, *revert, answers="changed my mind\nn\n")
    assert (code, "nothing was changed" in seen) == (0, True)
    assert not (tmp_path / "given_back").exists()
    code, _ = on_a_terminal(tmp_path, *revert, answers="changed my mind\ny\n")
    assert code == 0
    assert (tmp_path / "given_back").exists()
