"""`plan` and `run`: what needs the user's app and a flow of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import AppOption, Before, DatabaseUrlOption, JsonOption, PlainOption, program, settings_of, terminal_of
from .spans import Line, Span
from .terminal import Terminal, say

if TYPE_CHECKING:
    from flowledger.adapters.app import App
    from flowledger.core.parts import Part
    from flowledger.core.plan import Plan
    from flowledger.core.signature import Signature
    from flowledger.events.store import Stream
    from flowledger.projections.run_view import RunView


FlowArgument = Annotated[str | None, typer.Argument(metavar="FLOW", help="A flow of the app.", show_default=False)]
InputOption = Annotated[
    Path | None, typer.Option("--input", metavar="FILE", help="Inputs by name, as .json or .yaml.", show_default=False)
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=1", help="One input, or a field of one; JSON or text. May be repeated."),
]
HelpOption = Annotated[bool, typer.Option("--help", "-h", help="Show this message, and the inputs of FLOW.")]


def app_of(context: typer.Context, app: str | None, database_url: str | None) -> App:
    """The user's app, told where the log is if the command line says so."""
    from .finding import find_app  # noqa: PLC0415 - loads the user's code

    found = find_app(settings_of(context, app=app).app)
    before = context.find_object(Before) or Before()
    found.use(database_url=database_url or before.database_url)
    return found


# -- plan ---------------------------------------------------------------------------------------


def plan(
    context: typer.Context,
    flow: FlowArgument = None,
    input_: InputOption = None,
    set_: SetOption = None,
    app: AppOption = None,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
    help_: HelpOption = False,
) -> None:
    """Compile a flow and show what it would do. Writes nothing."""
    if help_:
        help_of(context, flow, app)
        return
    from flowledger.core.compiler import check_executors, check_pure  # noqa: PLC0415

    found = app_of(context, app, database_url)
    name = named_flow(found, flow)
    inputs = inputs_given(found, name, input_, set_)
    # Twice: a factory that reads a clock gives itself away.
    compiled = check_pure(lambda: part_of(found, name, inputs), found)
    check_executors(compiled, found)
    _show_plan(terminal_of(json=json, plain=plain), compiled)


def _show_plan(terminal: Terminal, plan: Plan) -> None:
    from flowledger.projections.nodes import AtomView  # noqa: PLC0415
    from flowledger.projections.run_view import RunView  # noqa: PLC0415

    view = RunView(document=plan.document)
    if terminal.json:
        terminal.document("plan", _plan_fields(plan, view))
        return
    naked = set(plan.without_revert)
    terminal.lines(_plan_head(plan, view))
    from .tree import Drawing, tree  # noqa: PLC0415

    terminal.lines(tree(view, Drawing(marked=lambda path: "without revert" if path in naked else "")))
    tasks = sum(isinstance(node, AtomView) for node in view.below(""))
    terminal.lines(_without_revert(plan, tasks))


def _plan_head(plan: Plan, view: RunView) -> list[Line]:
    from flowledger.core.bound import type_name  # noqa: PLC0415

    from .words import count  # noqa: PLC0415

    inputs = ", ".join(f"{name}: {type_name(typed.annotation)}" for name, typed in plan.inputs.items())
    ends = "revert everything" if plan.on_failure == "revert" else "stop and keep everything"
    return [
        [Span(plan.factory, "bold"), Span(f"  plan {plan.fingerprint[:12]}  {count(view.root.total, 'task')}")],
        [Span("inputs      ", "dim"), Span(inputs or "none")],
        [Span("resources   ", "dim"), Span(", ".join(sorted(plan.resources)) or "none")],
        [Span("on failure  ", "dim"), Span(ends)],
    ]


def _without_revert(plan: Plan, tasks: int) -> list[Line]:

    if not plan.without_revert:
        return [[Span("✔ ", "green"), Span("every task can be undone or changes nothing")]]
    number = len(plan.without_revert)
    head = f"{tasks} tasks, {number} without revert:"
    return [[Span("! ", "bold yellow"), Span(head)], *([Span(f"    {path}")] for path in plan.without_revert)]


def _plan_fields(plan: Plan, view: RunView) -> dict[str, Any]:
    from flowledger.projections.nodes import FlowView  # noqa: PLC0415

    nodes = [
        {
            "path": node.path,
            "kind": node.place.pattern,
            "after": list(node.place.waits_for),
            "retry": node.place.retry,
            "executions": node.place.executions,
        }
        for node in view.below("")
    ]
    return {
        "flow": plan.factory,
        "fingerprint": plan.fingerprint,
        "inputs": {name: typed.schema() for name, typed in plan.inputs.items()},
        "resources": sorted(plan.resources),
        "on_failure": plan.on_failure,
        "tasks": sum(not isinstance(node, FlowView) for node in view.below("")),
        "without_revert": list(plan.without_revert),
        "nodes": nodes,
    }


# -- run ----------------------------------------------------------------------------------------


def run(
    context: typer.Context,
    flow: FlowArgument = None,
    input_: InputOption = None,
    set_: SetOption = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="The same key goes on with the same run.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="K=V", help="A tag; may be repeated.")] = None,
    app: AppOption = None,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
    help_: HelpOption = False,
) -> None:
    """Run a flow here and now, and watch it. ^C suspends it, ^C again exits at once."""
    if help_:
        help_of(context, flow, app)
        return
    from .driven import Driven, finish  # noqa: PLC0415
    from .inputs import read_tags  # noqa: PLC0415

    found = app_of(context, app, database_url)
    name = named_flow(found, flow)
    part = part_of(found, name, inputs_given(found, name, input_, set_))
    tags = read_tags(tag or ())
    terminal = terminal_of(json=json, plain=plain)
    before = found.runtime.store.find(app=found.name, factory=name, key=key) if key is not None else None
    if before is not None:
        say(f"key {key!r} belongs to run {before.run_id}, {before.status}: " + _what_then(before))
    with Driven(found, terminal, compiled=found.plan(part), before=before) as driven:
        finish(driven, driven.drive(lambda observe: found.execute(part, key=key, tags=tags, observe=observe)))


def _what_then(before: Stream) -> str:
    from flowledger.events.store import FINAL  # noqa: PLC0415

    return "it has ended, nothing is run" if before.status in FINAL else "going on with it"


# -- the flow and its inputs --------------------------------------------------------------------


def named_flow(app: App, flow: str | None) -> str:
    """The flow (or task) the user named.

    Raises:
        InputError: no flow was named.
        FlowNotRegistered: the app has none of this name.
    """
    from difflib import get_close_matches  # noqa: PLC0415

    from flowledger.events.errors import FlowNotRegistered, InputError  # noqa: PLC0415

    flows = ", ".join(sorted(app.flows)) or "none"
    if flow is None:
        raise InputError("which FLOW?", field="FLOW", expected="the name of a flow", hint=f"the app has {flows}")
    if flow not in app.flows and flow not in app.tasks:
        near = get_close_matches(flow, [*app.flows, *app.tasks], n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise FlowNotRegistered(f"app {app.name} has no flow {flow!r}", hint=f"{meant}The app has {flows}")
    return flow


def _signature(app: App, name: str) -> Signature:
    if name in app.flows:
        return app.flows[name].signature
    registered: Any = app.tasks[name]
    found: Signature = registered.signature
    return found


def inputs_given(app: App, name: str, file: Path | None, settings: list[str] | None) -> dict[str, Any]:
    """The inputs from file and options.

    Raises:
        InputError: some are missing, and which.
    """
    from flowledger.core.bound import type_name  # noqa: PLC0415
    from flowledger.events.errors import InputError  # noqa: PLC0415

    from .inputs import read_inputs  # noqa: PLC0415

    inputs = read_inputs(file, settings or ())
    if name not in app.flows:
        return inputs
    missing = [p for p in _signature(app, name).parameters if p.required and p.name not in inputs]
    if missing:
        named = ", ".join(f"{p.name} ({type_name(p.annotation)})" for p in missing)
        raise InputError(
            f"{name} needs {named}", field=missing[0].name, expected=type_name(missing[0].annotation), given="nothing",
            hint=f"give inputs with --input FILE or --set {missing[0].name}=…; `run {name} --help` describes them",
        )  # fmt: skip
    return inputs


def part_of(app: App, name: str, inputs: Mapping[str, Any]) -> Part[Any]:
    """The flow with its inputs, each checked against its annotation."""
    import msgspec  # noqa: PLC0415

    from flowledger.core.compiler import rebuild  # noqa: PLC0415

    return rebuild(app, name, msgspec.json.encode(inputs))


def help_of(context: typer.Context, flow: str | None, app: str | None, *, verb: str = "run") -> None:
    """Show the help of a verb, and the inputs of the flow where one is named."""
    typer.echo(context.get_help())
    if flow is None:
        return
    from .inputs import inputs_help  # noqa: PLC0415

    found = app_of(context, app, None)
    name = named_flow(found, flow)
    described = list(inputs_help(_signature(found, name).parameters))
    width = max((len(field) for field, _ in described), default=0)
    typer.echo(f"\nInputs of {name}:" + ("" if described else " none"))
    for field, words in described:
        typer.echo(f"  {field:<{width}}  {words}")
    if described:
        typer.echo(f"\n  {program()} {verb} {name} --input FILE.json --set {described[0][0]}=…")
