"""`verify` and `export`: showing that the log is what was written, and carrying a run's history away. No app needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .exits import Exit
from .options import AppOption, DatabaseUrlOption, JsonOption, PlainOption, RunArgument, settings_of, terminal_of
from .reading import reading
from .spans import Span
from .terminal import Terminal, say

if TYPE_CHECKING:
    from flowledger.adapters.findings import Verified
    from flowledger.adapters.history import History
    from flowledger.adapters.settings import Settings

TrustOption = Annotated[
    list[str] | None,
    typer.Option("--trust", metavar="KEY", help="A public key, or a file of them, that seals must be signed with."),
]
SealsOption = Annotated[
    Path | None,
    typer.Option("--seals", metavar="FILE", help="A copy of the seals, from `seals export`, to hold the log to."),
]


def verify(
    context: typer.Context,
    target: Annotated[
        str | None, typer.Argument(metavar="[RUN|FILE]", help="A run, or an evidence bundle.", show_default=False)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every run and every seal of the log.")] = False,
    seals: SealsOption = None,
    trust: TrustOption = None,
    notify: Annotated[
        bool, typer.Option("--notify", help="Have those told of a bad outcome whom the app wants told.")
    ] = False,
    app: AppOption = None,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """Recompute the hash chains from the stored bytes, and check the seals; ends with 6 if something does not hold."""
    from flowledger.events.errors import InputError  # noqa: PLC0415

    terminal = terminal_of(json=json, plain=plain)
    settings = settings_of(context, app=app, database_url=database_url)
    trusted = _trusted(settings, trust)
    if (target is None) == (not every and seals is None):
        raise InputError("what is to be verified?", field="RUN", expected="a run, a bundle, or --all")
    if target is not None and _is_bundle(target):
        done, where = _verify_file(Path(target), trusted), target
    else:
        with reading(context, database_url) as history:
            done, where = _verify_log(history, target, seals, trusted, every=every), history.store.describe()
            if notify and not done.holds:
                _tell(settings, history, done)
    _show(terminal, done, where)
    if not done.holds:
        raise typer.Exit(Exit.NOT_VERIFIED)


def _tell(settings: Settings, history: History, done: Verified) -> None:
    """Queue what was found for those the app wants told; conductors and `flowledger projector` send it."""
    from contextlib import closing  # noqa: PLC0415

    from flowledger.adapters.views import open_views  # noqa: PLC0415

    from .projecting import sender_of  # noqa: PLC0415

    with closing(open_views(history.store)) as views:
        sender = sender_of(settings, history.store, views)
        for number, finding in enumerate(done.findings if sender is not None else ()):
            assert sender is not None
            id_ = f"verify-{history.store.now_us()}-{number}"
            where = f"event {finding.version}: " if finding.version else ""
            sender.report(id=id_, run_id=finding.run_id, text=f"{where}{finding.what}")


def _is_bundle(target: str) -> bool:
    return target.endswith(".zip") or "/" in target or Path(target).is_file()


def _verify_file(path: Path, trusted: frozenset[bytes]) -> Verified:
    from flowledger.adapters.bundle_reading import read_bundle, verify_bundle  # noqa: PLC0415

    return verify_bundle(read_bundle(path), trusted=trusted)


def _verify_log(
    history: History, target: str | None, seals: Path | None, trusted: frozenset[bytes], *, every: bool
) -> Verified:
    from flowledger.adapters.findings import Verified  # noqa: PLC0415
    from flowledger.adapters.verifying import verify_all, verify_run  # noqa: PLC0415

    done = Verified()
    if target is not None:
        done = verify_run(history.store, history.find(target))
    elif every:
        done = verify_all(history.store, trusted=trusted)
    if seals is not None:
        held = _held_to_copy(history, seals, trusted)
        done.seals = max(done.seals, held.seals)
        done.add(held)
    return done


def _held_to_copy(history: History, path: Path, trusted: frozenset[bytes]) -> Verified:
    from flowledger.adapters.seal_checking import check_copy, read_copy  # noqa: PLC0415
    from flowledger.events.errors import InputError  # noqa: PLC0415

    try:
        with path.open("rb") as lines:
            copies = read_copy(lines, name=str(path))
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error}", field="--seals", hint="`seals export` writes one"
        ) from error
    return check_copy(history.store, copies, trusted)


def _trusted(settings: Settings, named: list[str] | None) -> frozenset[bytes]:
    """The keys that seals must be signed with, from the options and the settings."""
    if not (named or settings.trusted_keys or settings.signing_keys):
        return frozenset()
    from flowledger.adapters.keys import read_keys  # noqa: PLC0415
    from flowledger.adapters.signing import public_half, trusted_keys  # noqa: PLC0415

    found = trusted_keys(settings.signing_keys, settings.trusted_keys)
    for text in named or ():
        content = Path(text).read_text(encoding="utf-8") if Path(text).is_file() else text
        found |= {public_half(key).content for key in read_keys(content, setting="--trust") if key.kind != "aes"}
    return found


def _show(terminal: Terminal, done: Verified, where: str) -> None:
    from .words import count  # noqa: PLC0415

    if terminal.json:
        terminal.document("verified", _fields(done, where))
        return
    for finding in done.findings:
        terminal.lines([[Span("✘ ", "bold red"), Span(finding.what)]])
    whole = [count(done.runs, "run"), count(done.events, "event"), count(done.payloads, "moved value")]
    seals = [count(done.seals, "seal")] if done.seals else []
    verdict = Span("✔ VERIFIED", "green") if done.holds else Span("✘ NOT VERIFIED", "bold red")
    terminal.lines([[verdict, Span(f"  {', '.join(whole + seals)}  {where}")]])
    for public_key, name in done.signed_by.items():
        known = "trusted" if done.trusted else "nobody has said whether to trust it: --trust, FLOWLEDGER_TRUSTED_KEYS"
        say(f"seals are signed by {name} ({public_key}): {known}")
    if done.holds and not done.seals:
        say("no seals: an end that was cut off, or a history written anew, could not be seen")


def _fields(done: Verified, where: str) -> dict[str, Any]:
    findings = [{"run": f.run_id or None, "version": f.version or None, "seal": f.seal or None, "what": f.what}
                for f in done.findings]  # fmt: skip
    counted = {"runs": done.runs, "events": done.events, "payloads": done.payloads, "seals": done.seals}
    signed = {"signed_by": done.signed_by, "trusted": done.trusted if done.signed_by else None}
    return {"where": where, "holds": done.holds, **counted, **signed, "findings": findings}


# -- export -------------------------------------------------------------------------------------


def export(
    context: typer.Context,
    run: RunArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where to; RUN.zip if unsaid. Never overwritten.")
    ] = None,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
) -> None:
    """Write a run's history into a file that `verify` needs no database for: events, values, plan, seals, proofs."""
    from flowledger.adapters.bundle import export as export_run  # noqa: PLC0415
    from flowledger.adapters.runtime import actor  # noqa: PLC0415

    terminal = terminal_of(json=json)
    with reading(context, database_url) as history:
        stream = history.find(run)
        path = out or Path(f"{stream.run_id}.zip")
        manifest = export_run(history.store, stream, path, actor=actor())
    if terminal.json:
        fields = {"file": str(path), "run": manifest.run_id, "events": manifest.version, "head": manifest.head}
        terminal.document("bundle", {**fields, "files": sorted(manifest.files)})
        return
    terminal.line(str(path))
    say(f"{manifest.version} events of run {manifest.run_id}, head {manifest.head[:12]}…")
