"""What the README says is true: its program runs, its verbs, targets and settings exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flowledger.adapters.settings import Settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def section(title: str) -> str:
    """The text under a heading of the second level."""
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_first_program_says_hello_and_the_log_keeps_it(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", section("Five minutes"), flags=re.DOTALL)
    (tmp_path / "hello.py").write_text(program)

    first = python("hello.py", cwd=tmp_path)
    again = python("hello.py", cwd=tmp_path)
    shown = python("-m", "flowledger", "show", "@last", cwd=tmp_path)
    events = python("-m", "flowledger", "events", "@last", cwd=tmp_path)

    assert (first.stdout, first.returncode) == ("HELLO, WORLD!\n", 0), first.stderr
    assert (again.stdout, again.returncode) == ("HELLO, WORLD!\n", 0), again.stderr
    assert (tmp_path / "flowledger.db").is_file()
    assert shown.returncode == 0, shown.stderr
    assert "greet" in shown.stdout
    assert "shout" in shown.stdout
    assert "RunSucceeded" in events.stdout


@pytest.mark.parametrize("verb", re.findall(r"^\| `(\w+)", section("Command line"), flags=re.MULTILINE))
def test_each_verb_is_there(verb: str, tmp_path: Path) -> None:
    asked = python("-m", "flowledger", verb, "--help", cwd=tmp_path)

    assert asked.returncode == 0, asked.stderr


def test_the_settings_are_there_with_these_defaults() -> None:
    names = re.findall(r"`([A-Z_]+)`", "".join(re.findall(r"^\| (`.*?) \|", section("Settings"), flags=re.MULTILINE)))
    settings = Settings()

    assert all(hasattr(settings, name.lower()) for name in names)
    assert (settings.lease_heartbeat_s, settings.lease_fence_s, settings.lease_takeover_s) == (5, 15, 20)
    assert (settings.payload_inline_bytes, settings.payload_max_bytes) == (65_536, 16_777_216)
    assert settings.database_url == "sqlite:///flowledger.db"


def test_the_commands_it_names_are_targets_of_the_makefile() -> None:
    named = set(re.findall(r"\bmake ([a-z-]+)", "\n".join(re.findall(r"```\n.*?```|`[^`\n]+`", README, re.DOTALL))))
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))

    assert {"demo", "test", "demo-crash", "demo-clean"} <= named <= targets


def test_the_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", README)

    assert links
    assert [link for link in links if not link.startswith("http") and not (ROOT / link).exists()] == []
