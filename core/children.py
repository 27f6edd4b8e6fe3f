"""Child runs: an atom of a flow that is a run of its own (rule G7)."""

from __future__ import annotations

from functools import cached_property

import msgspec

from .definition import FactoryDefinition, TaskDefinition
from .options import CallOptions, TaskOptions
from .signature import Signature

_CONFIG = msgspec.json.encode({"child": True})


async def _execute() -> None:
    """What stands for the body: the engine begins the run and looks at it (`core.engine.begetting`)."""


async def _revert() -> None:
    """Likewise: the engine cancels the run, or has it reverted."""


class ChildDefinition(TaskDefinition):
    """A flow factory as a task: it asks for the factory's inputs, and returns what its flow does."""

    def __init__(self, factory: FactoryDefinition) -> None:
        super().__init__(
            factory.name, _execute, TaskOptions(), factory.place, config=_CONFIG, owner=factory, around=factory.around,
            child=True,
        )  # fmt: skip
        self._factory = factory
        self.set_revert(_revert, CallOptions(), factory.place)

    @cached_property
    def signature(self) -> Signature:
        """The factory's, with the result of its flow."""
        asked = self._factory.signature
        return Signature(asked.parameters, self._factory.result, False)
