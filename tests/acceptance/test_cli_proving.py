"""`verify`, `export`, `seals`, `keys`: what an auditor types, and what a shell gets (exit code 6)."""

from __future__ import annotations

import io
import json
import sqlite3
import stat
import zipfile
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from .command_line import CHECKOUT, Command, flowledger
from .command_line import run as run_process

__all__ = ["flowledger"]

SHOP = ("--app", "tests.acceptance.shop:app")


@pytest.fixture
def shop(flowledger: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log with two runs in it, one of which failed and was reverted; the working directory."""
    monkeypatch.syspath_prepend(str(CHECKOUT))
    assert flowledger("run", "buy", *SHOP, "--set", "order.item=tea", "--key", "tea").code == 0
    assert flowledger("run", "buy", *SHOP, "--set", "order.item=nothing", "--key", "none").code == 1
    return tmp_path


@pytest.fixture
def signing(flowledger: Command, shop: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A signing key in the settings; its public half."""
    made = flowledger("keys", "new", "--kind", "ed25519", "--name", "audit-2026", "--out", shop / "signing.key")
    assert made.code == 0
    monkeypatch.setenv("FLOWLEDGER_SIGNING_KEYS_FILE", str(shop / "signing.key"))
    return made.out.strip()


def change(path: Path, statement: str) -> None:
    """Change the log as somebody would who may drop triggers."""
    with closing(sqlite3.connect(path / "flowledger.db", isolation_level=None)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)


# -- verify -------------------------------------------------------------------------------------


def test_a_run_and_a_log_verify(flowledger: Command, shop: Path) -> None:
    one, all_ = flowledger("verify", "tea"), flowledger("verify", "--all", "--json")
    assert (one.code, all_.code) == (0, 0)
    assert one.out.startswith("✔ VERIFIED  1 run, ")
    assert "no seals" in one.err
    assert (all_.json["runs"], all_.json["holds"], all_.json["findings"]) == (2, True, [])


def test_the_first_bad_event_is_named_and_the_code_is_6(flowledger: Command, shop: Path) -> None:
    # Given
    change(shop, "UPDATE events SET actor = 'nobody' WHERE version = 5 AND type LIKE 'Task%'")
    # When
    said, found = flowledger("verify", "tea"), flowledger("verify", "--all", "--json")
    # Then
    assert (said.code, found.code) == (6, 6)
    assert "event 5 TaskS" in said.out
    assert "✘ NOT VERIFIED" in said.out
    assert {(finding["version"], finding["seal"]) for finding in found.json["findings"]} == {(5, None)}


@pytest.mark.parametrize("argv", [(), ("tea", "--all")], ids=["nothing", "too much"])
def test_verify_wants_one_thing(flowledger: Command, shop: Path, argv: tuple[str, ...]) -> None:
    assert flowledger("verify", *argv).code == 2


def test_what_is_not_there_is_not_found(flowledger: Command, shop: Path) -> None:
    assert flowledger("verify", "nobody").code == 3
    assert flowledger("verify", "nowhere.zip").code == 2


# -- seals --------------------------------------------------------------------------------------


def test_a_log_is_sealed_and_held_to_its_seals(flowledger: Command, shop: Path, signing: str) -> None:
    # Given
    sealed = flowledger("seals", "new")
    assert sealed.code == 0
    assert sealed.out.startswith("seal 1  2 runs, ")
    assert "nothing is new" in flowledger("seals", "new").err
    assert flowledger("seals", "export", "--out", "copy.jsonl").code == 0
    # When / Then
    verified = flowledger("verify", "--all", "--seals", "copy.jsonl", "--json")
    assert (verified.code, verified.json["seals"], verified.json["trusted"]) == (0, 1, True)
    (row,) = flowledger("seals", "ls").table
    assert (row[0], row[2], row[4]) == ("1", "2", "audit-2026")
    # And when the last events of a run are gone, with all that speaks of them
    change(shop, "DELETE FROM events WHERE version > 3")
    change(shop, "UPDATE streams SET version = 3, status = 'RUNNING', head_hash = (SELECT hash FROM events e "
                 "WHERE e.run_id = streams.run_id AND version = 3)")  # fmt: skip
    change(shop, "DELETE FROM seals")
    change(shop, "DELETE FROM sealed_heads")
    assert flowledger("verify", "--all").code == 0
    held = flowledger("verify", "--seals", "copy.jsonl")
    assert held.code == 6
    assert "the log has no seals, the copy has seal 1" in held.out
    assert held.out.count("covers event") == 2


def test_who_has_no_key_cannot_seal(flowledger: Command, shop: Path) -> None:
    said = flowledger("seals", "new")
    assert said.code == 2
    assert "flowledger keys new" in said.err


def test_seals_to_stdout_are_lines_of_json(flowledger: Command, shop: Path, signing: str) -> None:
    flowledger("seals", "new")
    said = run_process("seals", "export", cwd=shop)
    (line,) = said.out.splitlines()
    assert set(json.loads(line)) == {"statement", "signature", "heads"}


def test_rel_s10_a_key_goes_to_its_file_only_and_nobody_else_may_read_it(flowledger: Command, tmp_path: Path) -> None:
    for kind in ("aes", "ed25519"):
        made = flowledger("keys", "new", "--kind", kind, "--name", "k", "--out", tmp_path / kind)
        secret = (tmp_path / kind).read_text().strip().partition(":")[2]
        assert made.code == 0
        assert secret not in made.out + made.err
        assert stat.S_IMODE((tmp_path / kind).stat().st_mode) == 0o600
        assert flowledger("keys", "new", "--kind", kind, "--name", "k", "--out", tmp_path / kind).code == 2


# -- bundles ------------------------------------------------------------------------------------


@pytest.fixture
def bundle(flowledger: Command, shop: Path, signing: str) -> Path:
    """The evidence of the failed run, from a sealed log."""
    flowledger("seals", "new")
    exported = flowledger("export", "none", "--out", "none.zip")
    assert (exported.code, exported.out.strip()) == (0, "none.zip")
    return shop / "none.zip"


def test_a_bundle_verifies_without_the_log(flowledger: Command, shop: Path, signing: str, bundle: Path) -> None:
    # Given another place, without the log and without the key
    (shop / "flowledger.db").unlink()
    # When
    said = flowledger("verify", bundle, "--json", "--trust", signing)
    # Then
    assert (said.code, said.json["seals"], said.json["trusted"]) == (0, 1, True)


def test_a_bundle_is_never_written_over(flowledger: Command, bundle: Path) -> None:
    before = bundle.read_bytes()
    assert flowledger("export", "none", "--out", bundle).code == 2
    assert bundle.read_bytes() == before


def test_a_log_that_does_not_hold_is_not_exported(flowledger: Command, shop: Path) -> None:
    change(shop, "UPDATE events SET actor = 'nobody' WHERE version = 5")
    assert flowledger("export", "tea", "--out", "tea.zip").code == 6
    assert not (shop / "tea.zip").exists()


def test_a_stranger_who_is_trusted_instead_is_a_finding(flowledger: Command, tmp_path: Path, bundle: Path) -> None:
    other = flowledger("keys", "new", "--kind", "ed25519", "--name", "x", "--out", tmp_path / "x.key").out.strip()
    said = run_process("verify", bundle, "--trust", other, cwd=tmp_path)
    assert said.code == 6
    assert "not trusted" in said.out


def rewritten(bundle: Path, change: Callable[[dict[str, bytes]], None], *, manifest: bool = True) -> Path:
    """A copy of the bundle with other files; the manifest made to fit them, as a careful forger would."""
    with zipfile.ZipFile(bundle) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    if manifest:
        fields = json.loads(files["manifest.json"])
        fields["files"] = {n: sha256(c).hexdigest() for n, c in files.items() if n != "manifest.json"}
        files["manifest.json"] = json.dumps(fields).encode()
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    path = bundle.with_name("forged.zip")
    path.write_bytes(written.getvalue())
    return path


def line_of(files: dict[str, bytes], at: int, **fields: Any) -> None:
    lines = files["events.jsonl"].splitlines()
    lines[at] = json.dumps(json.loads(lines[at]) | fields).encode()
    files["events.jsonl"] = b"\n".join(lines) + b"\n"


def cut(files: dict[str, bytes]) -> None:
    """The last event taken away, everywhere but under the seal."""
    lines = files["events.jsonl"].splitlines()
    files["events.jsonl"] = b"\n".join(lines[:-1]) + b"\n"
    last = json.loads(lines[-2])
    fields = json.loads(files["manifest.json"]) | {"version": last["version"], "head": last["hash"]}
    files["manifest.json"] = json.dumps(fields).encode()


@pytest.mark.parametrize(
    ("change", "manifest", "expected"),
    [
        (lambda files: line_of(files, 4, actor="nobody"), False, "events.jsonl is not what the manifest says"),
        (lambda files: line_of(files, 4, actor="nobody"), True, "event 5"),
        (lambda files: line_of(files, 4, version=9), True, "event 5 is missing"),
        (lambda files: files.update({"more.txt": b"x"}), False, "more.txt is not what the manifest says"),
        (lambda files: files.update({"README.txt": b"x"}), False, "README.txt is not what the manifest says"),
        (lambda files: files.pop("seals.jsonl"), False, "seals.jsonl is not what the manifest says"),
        (cut, True, "seal 1 covers"),
        (lambda files: files.update({"seals.jsonl": files["seals.jsonl"].replace(b'"place":1', b'"place":0')}), True,
         "not under its root"),
        (lambda files: files.update({"seals.jsonl": files["seals.jsonl"].replace(b'\\"runs\\":2', b'\\"runs\\":3')}),
         True, "the signature is not one"),
    ],
    ids=["file", "event", "place", "more", "readme", "no seals", "cut off", "proof", "statement"],
)  # fmt: skip
def test_rel_r20_a_forged_bundle_is_found_out(
    flowledger: Command, bundle: Path, change: Callable[[dict[str, bytes]], None], manifest: bool, expected: str
) -> None:
    said = flowledger("verify", rewritten(bundle, change, manifest=manifest))
    assert said.code == 6
    assert expected in said.out


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"no zip at all", b"\x00" * 100_000], ids=["empty", "head", "text", "zeros"]
)
def test_what_is_no_bundle_is_said_so(flowledger: Command, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "it.zip").write_bytes(content)
    said = flowledger("verify", "it.zip")
    assert said.code == 2
    assert "is no bundle" in said.err


def test_every_byte_of_a_bundle_that_is_changed_is_found_or_does_not_matter(bundle: Path, tmp_path: Path) -> None:
    """A zip has bytes that nobody reads (times, attributes); what is read is what was written, or it is found."""
    from flowledger.adapters.bundle_reading import read_bundle, verify_bundle  # noqa: PLC0415
    from flowledger.events.errors import InputError  # noqa: PLC0415

    content, path = bundle.read_bytes(), tmp_path / "changed.zip"
    whole = read_bundle(bundle)
    for at in range(0, len(content), 3):
        path.write_bytes(content[:at] + bytes((content[at] ^ 0x55,)) + content[at + 1 :])
        try:
            read = read_bundle(path)
        except InputError:
            continue
        assert read == whole or not verify_bundle(read).holds, at
