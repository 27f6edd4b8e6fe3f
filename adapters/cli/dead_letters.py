"""`dlq ls|show|replay|drop`: the messages that no worker could read, or act on."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .meant import YesOption, is_attended
from .options import AppOption, JsonOption, PlainOption, settings_of, terminal_of
from .terminal import say
from .words import iso

if TYPE_CHECKING:
    from flowledger.adapters.broker.dead_letters import DeadLetters
    from flowledger.adapters.broker.letters import DeadLetter

dlq = typer.Typer(
    help="Messages that no worker could read, or act on.", no_args_is_help=True, rich_markup_mode=None
)  # fmt: skip

OfOption = Annotated[
    str | None, typer.Option("--of", metavar="NAME", help="Whose: an app's name; the app of --app if unsaid.")
]
IdsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID...", help="Ids out of `dlq ls`, or beginnings of such.", show_default=False),
]
AllOption = Annotated[bool, typer.Option("--all", help="All there are.")]


@dlq.command("ls")
def list_letters(
    context: typer.Context,
    of: OfOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the oldest.")] = 100,
    app: AppOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """List the messages that were put aside: when, from which queue, why."""
    terminal = terminal_of(json=json, plain=plain)
    name, letters = _letters(context, of, app)
    found = letters.ls(limit=limit)
    if terminal.json:
        terminal.document("dead-letters", {"app": name, "items": [_fields(each) for each in found]})
        return
    rows = [(each.id, iso(each.time_us) or "", each.queue, str(each.length_bytes), each.reason) for each in found]
    terminal.table(("ID", "TIME", "QUEUE", "BYTES", "REASON"), rows, elastic=("QUEUE", "REASON"))
    if not found:
        say(f"nothing of the app {name!r} was put aside")
    elif len(found) == limit:
        say(f"there may be more than these {limit}: --limit")


@dlq.command("show")
def show_letter(
    context: typer.Context,
    id_: Annotated[str, typer.Argument(metavar="ID", help="An id out of `dlq ls`.", show_default=False)],
    of: OfOption = None,
    app: AppOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """Show one message with what is in it. Nothing of it is interpreted."""
    terminal = terminal_of(json=json, plain=plain)
    _, letters = _letters(context, of, app)
    fields = _fields(letter := letters.show(id_))
    if terminal.json:
        terminal.document("dead-letter", {**fields, **_content(letter.body)})
        return
    for name, value in fields.items():
        terminal.line(f"{name:<14}{'' if value is None else value}")
    terminal.line("")
    terminal.line(letter.body.decode("utf-8", "backslashreplace"))
    if not letter.is_whole:
        say(f"this is its beginning; it had {letter.length_bytes:,} bytes")


@dlq.command("replay")
def replay_letters(
    context: typer.Context,
    ids: IdsArgument = None,
    all_: AllOption = False,
    of: OfOption = None,
    app: AppOption = None,
    json: JsonOption = False,
) -> None:
    """Send messages to their queues again, signed anew: only those whose signature holds."""
    terminal = terminal_of(json=json)
    _check(ids, all_=all_)
    _, letters = _letters(context, of, app, signs=True)
    if all_:
        sent, stayed = letters.replay_all()
        if terminal.json:
            terminal.document("replayed", {"sent": sent, "stayed": stayed})
        say(f"{sent} sent again" + (f", {stayed} stay: what they are cannot be trusted" if stayed else ""))
        return
    for each in ids or ():
        letter = letters.replay(each)
        if terminal.json:
            terminal.document("replayed", _fields(letter))
        else:
            terminal.line(f"sent again  {letter.id}  {letter.queue}")


@dlq.command("drop")
def drop_letters(
    context: typer.Context,
    ids: IdsArgument = None,
    all_: AllOption = False,
    yes: YesOption = False,
    of: OfOption = None,
    app: AppOption = None,
    json: JsonOption = False,
) -> None:
    """Remove messages for good. What they asked for is in the log, and is asked again by itself."""
    terminal = terminal_of(json=json)
    _check(ids, all_=all_)
    name, letters = _letters(context, of, app)
    what = f"all messages of the app {name!r} that were put aside" if all_ else f"{len(ids or ())} of them"
    if is_attended() and not yes and not typer.confirm(f"drop {what} for good?", err=True):
        say("nothing was changed")
        raise typer.Exit(0)
    if all_:
        dropped = letters.drop_all()
        if terminal.json:
            terminal.document("dropped", {"dropped": dropped})
        say(f"{dropped} dropped")
        return
    for each in ids or ():
        letter = letters.drop(each)
        if terminal.json:
            terminal.document("dropped", _fields(letter))
        else:
            terminal.line(f"dropped  {letter.id}")


def _check(ids: list[str] | None, *, all_: bool) -> None:
    from flowledger.events.errors import InputError  # noqa: PLC0415

    if bool(ids) == all_:
        raise InputError("which messages are meant?", field="ID", expected="ids out of `dlq ls`, or --all")


def _letters(
    context: typer.Context, of: str | None, app: str | None, *, signs: bool = False
) -> tuple[str, DeadLetters]:  # fmt: skip
    """The name of the app meant, and its dead letters.

    Raises:
        InputError: nobody has said where the broker is, or whose they are, or (``signs``) with which key to sign.
    """
    from flowledger.adapters.broker.dead_letters import DeadLetters  # noqa: PLC0415 - loads kombu
    from flowledger.adapters.broker.messages import message_keys  # noqa: PLC0415
    from flowledger.events.errors import InputError  # noqa: PLC0415

    settings = settings_of(context, app=app)
    if settings.broker_url is None:
        raise InputError(
            "there is no broker", field="FLOWLEDGER_BROKER_URL", expected="where the broker is",
            hint="set FLOWLEDGER_BROKER_URL, or name a file with it in FLOWLEDGER_BROKER_URL_FILE",
        )  # fmt: skip
    keys = message_keys(settings.signing_keys) if signs else ()
    name = of or _name_of(settings.app)
    return name, DeadLetters(settings.broker_url, name, keys=keys, timeout_s=settings.broker_timeout_s)


def _name_of(app: str | None) -> str:
    from .finding import find_app  # noqa: PLC0415 - loads the user's code

    return find_app(app).name


def _fields(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id, "queue": letter.queue, "reason": letter.reason, "time": iso(letter.time_us),
        "content_type": letter.content_type, "length_bytes": letter.length_bytes, "whole": letter.is_whole,
    }  # fmt: skip


def _content(body: bytes) -> dict[str, str]:
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": b64encode(body).decode()}
