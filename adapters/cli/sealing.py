"""`seals` and `keys`: signed statements about where the log stands, and the keys for them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .options import DatabaseUrlOption, JsonOption, settings_of, terminal_of
from .reading import reading
from .terminal import say

if TYPE_CHECKING:
    from flowledger.adapters.keys import Key
    from flowledger.adapters.rewrapping import Rewrapped

seals = typer.Typer(help="Signed statements about where the log stands.", no_args_is_help=True, rich_markup_mode=None)
keys = typer.Typer(help="Keys that sign or encrypt.", no_args_is_help=True, rich_markup_mode=None)


@seals.command()
def new(context: typer.Context, database_url: DatabaseUrlOption = None, json: JsonOption = False) -> None:
    """Verify what is new in the log and seal it, with the first ed25519 key of FLOWLEDGER_SIGNING_KEYS."""
    from flowledger.adapters.sealing import seal_log  # noqa: PLC0415
    from flowledger.adapters.signing import signer_of  # noqa: PLC0415

    from .words import count  # noqa: PLC0415

    terminal = terminal_of(json=json)
    signer = signer_of(settings_of(context, database_url=database_url).signing_keys)
    with reading(context, database_url) as history:
        written = seal_log(history.store, signer)
    if terminal.json:
        terminal.document("seals", {"items": [_fields(each.seal.digest, each.seal.statement) for each in written]})
        return
    for seal, said in written:
        counted = f"{count(said.runs, 'run')}, {count(said.events, 'event')}"
        terminal.line(f"seal {said.seal}  {counted}  {seal.digest[:16]}…  signed by {said.key}")
    if not written:
        say("nothing is new since the last seal")


@seals.command()
def ls(context: typer.Context, database_url: DatabaseUrlOption = None, json: JsonOption = False) -> None:
    """List the seals of the log."""
    from .words import iso  # noqa: PLC0415

    terminal = terminal_of(json=json)
    with reading(context, database_url) as history:
        found = [(seal, seal.read()) for seal in history.store.seals.read(limit=100_000)]
    if terminal.json:
        terminal.document("seals", {"items": [_fields(seal.digest, seal.statement) for seal, _ in found]})
        return
    rows = [
        (str(said.seal), iso(said.time_us) or "", str(said.runs), str(said.events), said.key, seal.digest)
        for seal, said in found
    ]
    terminal.table(("SEAL", "TIME", "RUNS", "EVENTS", "KEY", "DIGEST"), rows, elastic=("DIGEST",))


@seals.command()
def export(
    context: typer.Context,
    after: Annotated[int, typer.Option("--after", metavar="N", min=0, help="Only seals with a higher number.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where to; stdout if unsaid.")] = None,
    database_url: DatabaseUrlOption = None,
) -> None:
    """Write the seals out, to be kept where who can write to the database cannot: `verify --seals FILE` uses them."""
    from flowledger.adapters.seal_checking import copy_lines  # noqa: PLC0415

    with reading(context, database_url) as history:
        lines = copy_lines(history.store, after=after)
        if out is None:
            sys.stdout.buffer.writelines(lines)
            sys.stdout.flush()
            return
        _write_new(out, b"".join(lines), mode=0o644)
    say(f"written: {out}")


def _fields(digest: str, statement: bytes) -> dict[str, object]:
    import msgspec  # noqa: PLC0415

    return {"digest": digest, "statement": msgspec.Raw(statement)}


# -- keys ---------------------------------------------------------------------------------------


@keys.command("new")
def new_key(
    kind: Annotated[
        Literal["ed25519", "hmac", "aes"],
        typer.Option("--kind", help="To sign seals, to sign what engines and workers send each other, or to encrypt."),
    ],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What it is called in seals and in the log.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where to; readable by you alone.")],
) -> None:
    """Make a key. The secret goes to the file, never to the screen; the public half of a signing key is shown."""
    from flowledger.adapters import keys as making  # noqa: PLC0415

    key = making.new_key(name, kind)
    shown = _public(key) if kind == "ed25519" else None
    _write_new(out, f"{key.line}\n".encode(), mode=0o600)
    setting = "FLOWLEDGER_CODEC_KEYS_FILE" if kind == "aes" else "FLOWLEDGER_SIGNING_KEYS_FILE"
    say(f"written: {out}; name it in {setting}")
    if shown is not None:
        typer.echo(shown.line)


@keys.command()
def rewrap(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
) -> None:
    """Encrypt the keys of all runs by the first aes key of FLOWLEDGER_CODEC_KEYS. The log is not touched.

    The other keys of the setting open what they have encrypted. It may be stopped, and done again, at any time.
    """
    from flowledger.adapters.rewrapping import rewrap as rewrap_keys  # noqa: PLC0415 - loads the ciphers

    from .words import count  # noqa: PLC0415

    terminal = terminal_of(json=json)
    setting = settings_of(context, database_url=database_url).codec_keys
    with reading(context, database_url) as history:
        done = rewrap_keys(history.store.run_keys, setting, dry_run=dry_run)
    if terminal.json:
        counts = {"rewrapped": done.done, "before": done.before, "left": done.left}
        terminal.document("rewrapped", {"key": done.to, "dry_run": dry_run, **counts})
    else:
        terminal.line(f"{count(done.done, 'key')} {'would be' if dry_run else 'now'} encrypted by {done.to}")
    _say_left(done)


def _say_left(done: Rewrapped) -> None:
    """Keys that stay as they are, and with them the need for the keys that encrypted them.

    Raises:
        KeyMissing: there are such.
    """
    from flowledger.events.errors import KeyMissing  # noqa: PLC0415

    if done.left:
        names = ", ".join(f"{many} by {name!r}" for name, many in sorted(done.left.items()))
        raise KeyMissing(
            f"{sum(done.left.values())} keys of runs were left as they are, encrypted {names}, e.g. that of run "
            f"{done.first_left}",
            hint="have the keys of these names in CODEC_KEYS, behind the first one, and do it again",
        )


def _public(key: Key) -> Key:
    from flowledger.adapters.signing import public_half  # noqa: PLC0415

    return public_half(key)


def _write_new(path: Path, content: bytes, *, mode: int) -> None:
    """Write a file that does not exist yet.

    Raises:
        InputError: it does, or cannot be written.
    """
    from flowledger.events.errors import InputError  # noqa: PLC0415

    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
    except FileExistsError as error:
        raise InputError(f"{path} exists already", field="--out", hint="name another file") from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error}", field="--out", hint="name another file with --out"
        ) from error
