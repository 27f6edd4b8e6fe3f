"""FL1xx: the flow is wrong. Nothing was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .root import FlowledgerError

if TYPE_CHECKING:
    pass


class DefinitionError(FlowledgerError):
    """A task, flow or resource is defined or placed wrongly. Nothing has been written."""

    code = "FL100"


class MissingSymbol(DefinitionError):
    """An argument has no provider: no sibling, no enclosing flow, no input, no resource has its name."""

    code = "FL101"


class AmbiguousSymbol(DefinitionError):
    """An argument has two providers that are equally near."""

    code = "FL102"


class SymbolTypeMismatch(DefinitionError):
    """The provider's type can never be what the argument asks for."""

    code = "FL103"


class UnknownArgument(DefinitionError):
    """`bind` or `each` names an argument the callable does not have."""

    code = "FL104"


class ProvidesMismatch(DefinitionError):
    """`provides` does not fit the return annotation."""

    code = "FL105"


class ReservedName(DefinitionError):
    """`result`, `failure` and `failures` belong to reverts and cannot be symbols or arguments of `execute`."""

    code = "FL106"


class DuplicateName(DefinitionError):
    """Two siblings, or two definitions of an app, were given the same name."""

    code = "FL107"


class CyclicFlow(DefinitionError):
    """The parts of a graph wait for each other."""

    code = "FL108"


class UnserialisableType(DefinitionError):
    """An annotation cannot be written to the log, so its value could not be read back."""

    code = "FL109"
    default_hint = "annotate with a type pydantic can serialise; live objects belong in @app.resource"


class UnresolvedAnnotation(DefinitionError):
    """An annotation names something that does not exist at run time."""

    code = "FL110"
    default_hint = "import it outside `if TYPE_CHECKING:` (ruff: flake8-type-checking.runtime-evaluated-decorators)"


class NotImportable(DefinitionError):
    """The app or a definition cannot be found by name from another process."""

    code = "FL111"


class PlacedInsideTask(DefinitionError):
    """A part was bound or built inside a running task body, where placing has no meaning."""

    code = "FL112"
    default_hint = "place parts in a flow factory; inside a body call the task like the function it is"


class FactoryNotPure(DefinitionError):
    """A flow factory built two different plans from the same inputs."""

    code = "FL113"
    default_hint = "a factory may depend on nothing but its inputs: no clock, no randomness, no environment"


class FlowNotRegistered(DefinitionError):
    """The app has no flow or task of this name, so the run could not be resumed."""

    code = "FL114"
    default_hint = "register it in the app, under this name; `flowledger definitions ls` lists what there is"


class NotSupported(DefinitionError):
    """What is asked for is not part of this version."""

    code = "FL115"


class MaybeSkipped(DefinitionError):
    """A required argument comes from a part that a branch may skip while its consumer runs."""

    code = "FL116"


class FoldFailed(DefinitionError):
    """The fold of a projection raised: its tables stay where they are until it is mended."""

    code = "FL117"
    default_hint = "mend the fold; if its earlier rows were wrong too, raise the projection's version"


class TransactionMisused(DefinitionError):
    """The body of a transactional task has ended the transaction it was lent."""

    code = "FL118"
    default_hint = "leave commit and rollback to flowledger: return, or raise; for a part of it use begin_nested()"


class UnknownExecutor(DefinitionError):
    """A part is to run on an executor that the app of this process was not given."""

    code = "FL119"
