"""docs/auditing.md, typed as it stands: each command is run, each line of output that is shown must come."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.acceptance.command_line import CHECKOUT, environment

PAGE = CHECKOUT / "docs" / "auditing.md"
pytestmark = pytest.mark.slow


class Step(NamedTuple):
    """A command and what must be seen of it."""

    command: str
    seen: list[str]
    code: int


def steps() -> Iterator[Step]:
    for block in re.findall(r"```console\n(.*?)```", PAGE.read_text(), flags=re.DOTALL):
        for part in block.split("$ ")[1:]:
            command, *seen = part.rstrip("\n").split("\n")
            code = int(seen.pop().removeprefix("exit ")) if seen and seen[-1].startswith("exit ") else 0
            yield Step(command, seen, code)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """flowledger as it would be installed."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out)]
    subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def elsewhere(folder: Path, wheel: Path) -> None:
    """Another machine: a fresh environment with the wheel in it and nothing of this checkout, its log or its settings.

    Its dependencies are this environment's, so that nothing is fetched; database drivers cannot be imported there.
    """
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]
    site = Path(subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip())
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(site)], check=True)
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    (site / "sitecustomize.py").write_text(
        "import sys\nfor name in ('psycopg', 'sqlite3', '_sqlite3', 'sqlalchemy', 'alembic'):\n"
        "    sys.modules[name] = None\n"
    )
    script = folder / "elsewhere" / "flowledger"
    script.parent.mkdir()
    forget = "unset FLOWLEDGER_SIGNING_KEYS_FILE FLOWLEDGER_APP PYTHONPATH"
    script.write_text(f'#!/bin/sh\n{forget}\nexec {python} -m flowledger "$@"\n')
    script.chmod(0o755)


def _shell(line: str, folder: Path, surroundings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", line], check=False, cwd=folder, env=surroundings, capture_output=True, text=True
    )


def test_the_page_is_true(tmp_path: Path, wheel: Path) -> None:
    # Given the code that is shown, and another machine
    (code,) = re.findall(r"```python\n# provision.py\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    (tmp_path / "provision.py").write_text(code)
    elsewhere(tmp_path, wheel)
    exports: list[str] = []
    bin_ = Path(sys.executable).parent
    surroundings = environment(PATH=f"{bin_}:{os.environ['PATH']}", LC_ALL="C.UTF-8")
    found = list(steps())
    assert len(found) >= 15
    for command, seen, code_ in found:
        if command.startswith("export "):
            exports.append(command)
            continue
        # When
        line = "\n".join([*exports, command])
        done = _shell(line, tmp_path, surroundings)
        # Then
        said = (done.stdout + done.stderr).splitlines()
        assert done.returncode == code_, (command, said)
        for pattern in seen:
            expression = ".*".join(re.escape(part) for part in pattern.split("…"))
            assert any(re.fullmatch(expression, each) for each in said), (command, pattern, said)
