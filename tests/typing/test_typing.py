"""The public interface under both checkers: what is right passes, and each planted error is seen where it stands."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
EXAMPLES = sorted(p.name for p in (ROOT / "examples").glob("ex*.py"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def mypy(file: Path) -> dict[int, str]:
    """What mypy --strict says about one file: line → message."""
    command = [
        sys.executable, "-m", "mypy", "--strict", "--python-version", "3.11", "--explicit-package-bases",
        "--no-error-summary", "--no-pretty", "--show-absolute-path", "--config-file", "", "--no-warn-unused-ignores",
        "--cache-dir", str(ROOT / ".mypy_cache" / "typing"), str(file),
    ]  # fmt: skip
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode in (0, 1), found.stdout + found.stderr
    # The name alone: of a file that has not changed, the cache says where it was when it was last looked at.
    lines = re.findall(rf"^.*/{re.escape(file.name)}:(\d+): error: (.*)$", found.stdout, re.MULTILINE)
    assert lines or found.returncode == 0, found.stdout
    return {int(line): message for line, message in lines}


def pyright(file: Path) -> dict[int, str]:
    """What pyright in strict mode says about one file: line → message. Its settings are put beside the file."""
    settings = {
        "include": [file.name],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "extraPaths": [str(ROOT)],
        "reportUnusedExpression": "none",  # the planted lines are expressions
        "reportUnusedCoroutine": "none",
    }
    (file.parent / "pyrightconfig.json").write_text(json.dumps(settings))
    command = ["-m", "pyright", "--project", str(file.parent), "--pythonpath", sys.executable, "--outputjson"]
    found = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode in (0, 1), found.stdout + found.stderr
    report = json.loads(found.stdout)
    assert report["summary"]["filesAnalyzed"] == 1
    said = [d for d in report["generalDiagnostics"] if d["severity"] == "error"]
    return {d["range"]["start"]["line"] + 1: d["message"] for d in said}


def copied(path: Path, to: Path) -> Path:
    """The file where a checker sees it alone, without the settings of this project."""
    copy = to / f"{path.stem}.py"
    copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    return copy


@pytest.mark.parametrize("file", ["tests/typing/must_pass.py", *(f"examples/{name}" for name in EXAMPLES)])
def test_what_is_right_passes_both_checkers(file: str, tmp_path: Path) -> None:
    copy = copied(ROOT / file, tmp_path)
    assert mypy(copy) == {}
    assert pyright(copy) == {}


def test_each_planted_error_is_seen_by_the_checkers_that_can_see_it(tmp_path: Path) -> None:
    # Given a file with an error planted on each marked line
    planted = copied(HERE / "planted.txt", tmp_path)
    lines = planted.read_text(encoding="utf-8").splitlines()
    marks = {n: m for n, line in enumerate(lines, 1) if (m := re.search(r"# E(\d+) (both|pyright)", line))}
    by_both = {n for n, mark in marks.items() if mark[2] == "both"}
    assert (len(marks), len(by_both)) == (35, 26)
    # When both checkers look at it, then they report these lines and no others
    assert set(pyright(planted)) == set(marks)
    assert set(mypy(planted)) == by_both
