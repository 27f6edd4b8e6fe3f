"""The example that the demo runs, wherever it is installed, and what the demo may ask of it."""

from __future__ import annotations

import shutil
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

import flowledger
from flowledger.events.errors import NotImportable
from flowledger.projections.nodes import AtomView, FlowView
from flowledger.projections.run_view import RunView

if TYPE_CHECKING:
    from flowledger.adapters.app import App
    from flowledger.core.parts import Part

#: Where the example is: in the wheel, and in a checkout.
_PACKAGES = ("flowledger.examples.cluster", "examples.cluster")


class Process(NamedTuple):
    """A server process, as the operating system lists it."""

    pid: int
    name: str


class ClusterExample:
    """The cluster example.

    Raises:
        NotImportable: this installation has no examples.
    """

    def __init__(self) -> None:
        self.package = _package()
        self._flows: Any = import_module(f"{self.package}.flows")
        self._models: Any = import_module(f"{self.package}.models")
        self._processes: Any = import_module(f"{self.package}.processes")
        self._cloud: Any = import_module(f"{self.package}.cloud")
        self.directory: Path = self._processes.work_dir()

    @property
    def app(self) -> App:
        """The example's app, told to keep its log beside its servers."""
        app: App = self._flows.app
        app.use(database_url=self.database_url)
        return app

    @property
    def app_path(self) -> str:
        """What ``--app`` would have to say."""
        return f"{self.package}.flows:app"

    @property
    def log(self) -> Path:
        """The file the demo's log is in."""
        return self.directory / "flowledger.db"

    @property
    def database_url(self) -> str:
        """The URL of the log."""
        return f"sqlite:///{self.log}"

    @property
    def factory(self) -> str:
        """The flow that the demo runs."""
        return "create_cluster"

    def part(self) -> Part[Any]:
        """The demo's flow: the cluster of cluster.json, one node of which fails twice."""
        part: Part[Any] = self._flows.create_cluster(self._cluster())
        return part

    @property
    def size(self) -> int:
        """How many nodes the demo's cluster is to have."""
        return len(self._cluster().nodes)

    def _cluster(self) -> Any:
        return self._models.read_cluster(Path(self._flows.__file__).with_name("cluster.json"))

    def processes(self) -> list[Process]:
        """The server processes that run, asked of the operating system."""
        return [Process(process.pid, process.name) for process in self._processes.servers_in(self.directory)]

    def note(self, atom: AtomView) -> str:
        """What to add to a server that stands: its process and its port."""
        if atom.name != "create_server" or atom.state != "SUCCEEDED" or atom.result is None:
            return ""
        server_id: str = msgspec.json.decode(atom.result, type=str)
        state = self._cloud.Cloud(self.directory).homes.state(self._cloud.name_of(server_id))
        return f"pid {state.pid} :{state.port}" if state is not None and state.server_id == server_id else ""

    def came_to(self, view: RunView) -> str:
        """What a run that succeeded has made, in one line."""
        said = [f"{sum(atom.name == 'create_server' for atom in view.atoms.values())} nodes"]
        confirmed = [len(peers) for peers in _confirmed(view).values()]
        said += [f"{min(confirmed)} peers confirmed each by HTTP"] if confirmed else []
        flows = [node for node in view.below("") if isinstance(node, FlowView)]
        said += [f"{flow.name} took {flow.round} tries" for flow in flows if flow.round > 1]
        return ", ".join(said)

    def remove(self) -> bool:
        """Remove what the demo has put into its directory, and the directory if nothing else is in it."""
        if not self.directory.is_dir():
            return False
        shutil.rmtree(self.directory / "servers", ignore_errors=True)
        for entry in self.directory.glob(f"{self.log.name}*"):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink(missing_ok=True)
        if not any(self.directory.iterdir()):
            self.directory.rmdir()
        return True


def _confirmed(view: RunView) -> dict[str, list[str]]:
    """Whom each server has confirmed, out of the log."""
    for atom in view.atoms.values():
        if atom.name == "configure_cluster" and atom.result:
            return msgspec.json.decode(atom.result, type=dict[str, list[str]])
    return {}


def _package() -> str:
    """The package of the example; a checkout's own folder is put on the path."""
    root = Path(flowledger.__file__).resolve().parent.parent
    if (root / "examples" / "cluster" / "flows.py").is_file() and str(root) not in sys.path:
        sys.path.insert(0, str(root))
    for package in _PACKAGES:
        try:
            if find_spec(f"{package}.flows") is not None:
                return package
        except ModuleNotFoundError:
            continue
    raise NotImportable("this installation has no examples", hint="use the wheel or a checkout")
