"""The peers have an environment of their own, made when first needed: flowledger never depends on them."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

VENV = Path(__file__).parents[1] / ".venv-peers"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def python() -> str:
    """The interpreter of the peers' environment."""
    found = VENV / "bin" / "python"
    stamp = VENV / ".set-up"
    wanted = REQUIREMENTS.read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"installing the peers into {VENV}", flush=True)
        venv.create(VENV, with_pip=True, clear=True)
        subprocess.run(
            [found, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS], check=True
        )
        stamp.write_text(wanted)
    return str(found)
