"""The public interface under both checkers: what is right passes, and each planted error is seen where it stands."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
RIGHT = [HERE / "must_pass.py", *sorted((ROOT / "examples").glob("ex*.py"))]
PLANTED = HERE / "planted.txt"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

Said = dict[str, dict[int, str]]  #: name of a file → line → message


def mypy(files: list[Path]) -> Said:
    """What mypy --strict says about these files."""
    command = [
        sys.executable, "-m", "mypy", "--strict", "--python-version", "3.11", "--explicit-package-bases",
        "--no-error-summary", "--no-pretty", "--show-absolute-path", "--config-file", "", "--no-warn-unused-ignores",
        "--cache-dir", str(ROOT / ".mypy_cache" / "typing"), *map(str, files),
    ]  # fmt: skip
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode in (0, 1), found.stdout + found.stderr
    said: Said = {file.name: {} for file in files}
    # The name alone: of a file that has not changed, the cache says where it was when it was last looked at.
    lines = re.findall(r"^.*?([^/\n]+):(\d+): error: (.*)$", found.stdout, re.MULTILINE)
    assert lines or found.returncode == 0, found.stdout
    for name, line, message in lines:
        said[name][int(line)] = message
    return said


def pyright(files: list[Path]) -> Said:
    """What pyright in strict mode says about these files of one folder. Its settings are put beside them."""
    folder = files[0].parent
    settings = {
        "include": [file.name for file in files],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "extraPaths": [str(ROOT)],
        "reportUnusedExpression": "none",  # the planted lines are expressions
        "reportUnusedCoroutine": "none",
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = ["-m", "pyright", "--project", str(folder), "--pythonpath", sys.executable, "--outputjson"]
    found = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode in (0, 1), found.stdout + found.stderr
    report = json.loads(found.stdout)
    assert report["summary"]["filesAnalyzed"] == len(files)
    said: Said = {file.name: {} for file in files}
    for each in report["generalDiagnostics"]:
        if each["severity"] == "error":
            said[Path(each["file"]).name][each["range"]["start"]["line"] + 1] = each["message"]
    return said


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The files where a checker sees them without the settings of this project."""
    folder = tmp_path_factory.mktemp("typing")
    made = [folder / f"{path.stem}.py" for path in [*RIGHT, PLANTED]]
    for path, copy in zip([*RIGHT, PLANTED], made, strict=True):
        copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    return made


@pytest.mark.parametrize("checker", [mypy, pyright], ids=["mypy", "pyright"])
def test_what_is_right_passes_and_each_planted_error_is_seen_by_a_checker_that_can_see_it(
    checker: Callable[[list[Path]], Said], copies: list[Path]
) -> None:
    # Given files in which all is right, and one with an error planted on each marked line
    lines = PLANTED.read_text(encoding="utf-8").splitlines()
    marks = {n: m for n, line in enumerate(lines, 1) if (m := re.search(r"# E(\d+) (both|pyright)", line))}
    by_both = {n for n, mark in marks.items() if mark[2] == "both"}
    assert (len(marks), len(by_both)) == (35, 26)
    # When a checker looks at them
    said = checker(copies)
    # Then it reports the lines it can see are wrong, and no others
    assert set(said.pop("planted.py")) == (by_both if checker is mypy else set(marks))
    assert said == {f"{path.stem}.py": {} for path in RIGHT}
