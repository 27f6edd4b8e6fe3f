"""What a fork would take over from its source, and what it would do itself (G6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from flowledger.events.errors import IllegalRequest

from .branching import taken_along
from .changes import compare
from .document import read_document
from .following import Reached, bindings, reached
from .inheriting import Had
from .plan import RUN, FromInput, Given, Node, Plan
from .preview import Preview


class Inheritance(NamedTuple):
    """Paths of what is taken over: atoms with their results, nodes that stay skipped, nodes that were asked and may
    run, retries that are done. ``again``: the atoms that the fork runs itself."""

    inherited: tuple[str, ...]
    skipped: tuple[str, ...]
    decided: tuple[str, ...]
    rounds: tuple[str, ...]
    again: tuple[str, ...]

    def preview(self) -> Preview:
        """As it is shown to people."""
        return Preview(runs_again=self.again, keeps=self.inherited)


def inherit(
    plan: Plan, document: bytes, then: Had, now: Had, *, changed: set[str], rotated: set[str], at: str | None
) -> Inheritance:  # fmt: skip
    """What a run under ``plan`` can take over from one that had ``then``, under the plan of ``document``, and has
    ``now`` as it stands: what was undone since cannot be taken over.

    ``changed``: the names of inputs that are others; ``rotated``: the paths of what is given other secrets, which no
    document tells; ``at``: the path of the part from which on everything is new.
    """
    source = _Source(plan, document, then, now)
    seeds = {n.number for n in plan.nodes if source.is_other(n) or n.path in rotated or _takes(n, changed)}
    if at is not None:
        seeds.add(plan.by_path[at])
    while True:
        new = reached(plan, seeds)
        torn = {number for number in source.noes() if number not in new.whole and source.is_torn(number, new)}
        if not torn:
            return source.taken(new)
        seeds |= torn


def rotated(plan: Plan, before: Plan | None) -> set[str]:
    """The paths of what is given other secrets by hand than in the plan of ``before``; None: nobody knows those."""
    known = {} if before is None else {node.path: _secrets(node) for node in before.nodes}
    return {node.path for node in plan.nodes if (given := _secrets(node)) and given != known.get(node.path)}


def _secrets(node: Node) -> dict[str, bytes]:
    given = (binding for binding in bindings(node) if isinstance(binding, Given) and binding.typed.secretive)
    return {binding.argument: binding.content for binding in given}


def _takes(node: Node, changed: set[str]) -> bool:
    return any(isinstance(binding, FromInput) and binding.name in changed for binding in bindings(node))


class _Source:
    """The source of a fork, seen under the fork's plan."""

    def __init__(self, plan: Plan, document: bytes, then: Had, now: Had) -> None:
        self._plan = plan
        self._then = then
        done = then.done.items()
        self._done = {path: had for path, had in done if path in now.done and now.done[path].version == had.version}
        history = {*self._done, *then.skipped, *then.verdicts, *then.rounds}
        differing = compare(document, plan.document, history).in_the_way_of
        self._other = {path for path in differing if path in plan.by_path}

    def is_other(self, node: Node) -> bool:
        """Whether the node is not what it was, or an atom that was not done."""
        if node.path in self._other or node.expansion is not None:  # an expansion is made anew of what there is then
            return True
        return node.is_atom and node.path not in self._done and not self._is_skipped(node.number)

    def _is_skipped(self, number: int) -> bool:
        while number != RUN:
            if self._plan.nodes[number].path in self._then.skipped:
                return True
            number = self._plan.nodes[number].parent
        return False

    def noes(self) -> list[int]:
        """The nodes whose predicates said no."""
        by_path = self._plan.by_path
        return [by_path[path] for path, no in self._then.verdicts.items() if no is not None and path in by_path]

    def is_torn(self, number: int, new: Reached) -> bool:
        """Whether some of what a *no* took along is not skipped here: then it must be asked again."""
        depth = self._then.verdicts[self._plan.nodes[number].path]
        assert depth is not None
        along = taken_along(self._plan.nodes, number, depth)
        return any(new.holds(n) or not self._is_skipped(n) for n in along)

    def taken(self, new: Reached) -> Inheritance:
        """What is taken over where ``new`` is what is not."""
        nodes = self._plan.nodes[1:]
        old = [node for node in nodes if node.number not in new.whole]
        skipped = tuple(node.path for node in old if node.path in self._then.skipped)
        inherited = [node for node in old if node.is_atom and node.path in self._done]
        return Inheritance(
            inherited=tuple(node.path for node in inherited),
            skipped=skipped,
            decided=tuple(n.path for n in old if n.path in self._then.verdicts and n.path not in skipped),
            rounds=tuple(n.path for n in old if n.path in self._then.rounds and n.number not in new.partly),
            again=tuple(node.path for node in nodes if node.is_atom and node.number in new.whole),
        )


def check_adoption(run_id: str, now: Had, chosen: Inheritance, document: bytes, plan: Plan) -> None:
    """Refuse an adoption that would leave something standing that nobody has to undo (G6): parts that the fork does not
    take over, and child runs, which only their own parent finds (G7).

    Raises:
        IllegalRequest: it would, or another fork has adopted the run.
    """
    if now.adopted_by:
        raise IllegalRequest(
            f"run {run_id} has been adopted by run {now.adopted_by}; that can be done once",
            hint=f"fork run {now.adopted_by}, or fork without --adopt",
        )
    atoms = [plan.nodes[plan.by_path[path]] for path in chosen.inherited if now.done[path].stands]
    child = next((node.path for node in atoms if node.task is not None and node.task.child), None)
    if child is not None:
        raise IllegalRequest(
            f"{child} of run {run_id} is a run of its own, which only its parent can undo",
            hint="undo and run again in the same run (`rerun --from`), or fork without --adopt",
        )
    read = read_document(document)
    harmless = {node.path for node in read.nodes if not node.task or not read.tasks[node.task].revert}
    cared_for = harmless.union(chosen.inherited)  # what has grown in an expansion is neither (E7)
    left = [path for path, done in now.done.items() if done.stands and path not in cared_for]
    if left:
        raise IllegalRequest(
            f"nobody would have to undo {', '.join(left[:5])}{' …' if len(left) > 5 else ''} of run {run_id}: the fork "
            "does not take over all that stands",
            hint="undo and run again in the same run (`rerun --from`), or fork without --adopt",
        )


def changed_inputs(before: bytes, after: bytes) -> set[str]:
    """The names of inputs that differ between two JSON objects."""
    old, new = (msgspec.json.decode(content, type=dict[str, msgspec.Raw]) for content in (before, after))
    return {name for name in {*old, *new} if _differ(old.get(name), new.get(name))}


def _differ(one: msgspec.Raw | None, other: msgspec.Raw | None) -> bool:
    return one is None or other is None or bytes(one) != bytes(other)


def merged_inputs(before: bytes, changes: Mapping[str, msgspec.Raw]) -> bytes:
    """The inputs of the source with some of them replaced: a JSON object."""
    return msgspec.json.encode({**msgspec.json.decode(before, type=dict[str, msgspec.Raw]), **changes})
