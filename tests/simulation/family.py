"""Which runs have to do with each other: parents and children (G7), forks and their sources (G6)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flowledger.core.inheriting import Had, had
from flowledger.events import facts
from flowledger.events.facts import RunForked
from tests.properties.forks import Taken, taken_over
from tests.properties.model import Model
from tests.properties.spec import INPUTS

if TYPE_CHECKING:
    from flowledger.adapters.forking import Asked

    from .judge import Witness


class Unrelated(AssertionError):
    """A run came to be that nobody may have begun."""


class Family:
    """All runs of a world, by who begot them. ``asked`` is what forks were asked for, by their reasons."""

    def __init__(self) -> None:
        self.witnesses: dict[str, Witness] = {}
        self.children: dict[tuple[str, str, int], Witness] = {}
        self.asked: dict[str, Asked] = {}

    def add(self, witness: Witness) -> None:
        self.witnesses[witness.run_id] = witness
        parent = witness.submitted.parent
        if parent is None:
            return
        above = self.witnesses[parent.run]
        begun = above.begun.get((parent.path, parent.try_))
        if begun is None:
            raise Unrelated(f"{parent.path} of run {parent.run} is begun without a durable start (C1)")
        if tuple(inputs_of(witness.submitted).values())[: len(begun)] != begun:
            raise Unrelated(f"the run of {parent.path} is given {inputs_of(witness.submitted)}, not {begun} (D4)")
        if self.children.setdefault((parent.run, parent.path, parent.try_), witness) is not witness:
            raise Unrelated(f"{parent.path} of run {parent.run} has two runs in try {parent.try_} (G7)")

    def had(self, forked: RunForked) -> Had:
        """What a source had when it was forked."""
        source = self.witnesses[forked.source]
        return had(source.log[: forked.version], source=source.state.taken)


class Relatives:
    """The family as one run sees it: see `tests.properties.kin.Kin`."""

    def __init__(self, family: Family, submitted: facts.RunSubmitted, run_id: str) -> None:
        self._family = family
        self._run_id = run_id
        self._inputs = inputs_of(submitted)

    def child(self, path: str, try_: int) -> Witness | None:
        return self._family.children.get((self._run_id, path, try_))

    def inherited(self, forked: RunForked) -> tuple[Model, Taken]:
        source, asked = self._family.witnesses[forked.source], self._family.asked[forked.reason]
        if source.log[forked.version - 1].hash.hex() != forked.hash:
            raise Unrelated(f"run {self._run_id} is a fork of what run {forked.source} never was (G6)")
        changed = {f"input:{name}": value for name, value in (asked.inputs or {}).items()}
        model = source.model_at(forked.version)
        if self._inputs != {**model.inputs, **changed}:
            raise Unrelated(f"run {self._run_id} was to have {changed} of {model.inputs}, and has {self._inputs} (G6)")
        at = None if asked.at is None else source.name_of(str(asked.at))
        return model, taken_over(model, self._inputs, at)


def inputs_of(submitted: facts.RunSubmitted) -> dict[str, Any]:
    """The inputs that a spec knows, by the names it gives them."""
    given = json.loads(bytes(submitted.inputs))
    return {name: given[name.removeprefix("input:")] for name in INPUTS}
