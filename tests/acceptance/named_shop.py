"""An app whose bodies run elsewhere: in processes of their own, and on executors that it was given by name."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from threading import current_thread
from time import sleep
from typing import Any

from pydantic import BaseModel, SecretStr

from flowledger import App, Bounded, Flow, Task, TaskContext, linear, unordered
from flowledger.events.failure import Failure

#: What has become of executors that were made here.
closed: list[str] = []
clients: list[Any] = []


def pool() -> Executor:
    return ProcessPoolExecutor(2, mp_context=get_context("spawn"))


def crew() -> Iterator[Executor]:
    with ThreadPoolExecutor(4, thread_name_prefix="crew") as made:
        yield made
    closed.append("crew")


def cluster() -> Iterator[Executor]:
    from distributed import Client  # noqa: PLC0415  # pyright: ignore[reportMissingImports] - only who asks needs it

    client: Any = Client(os.environ["TEST_DASK"])  # type: ignore[no-untyped-call]
    with client:
        clients.append(client)
        yield client.get_executor()
    closed.append("cluster")


app = App(
    "named_shop",
    database_url="memory://",
    executors={"pool": pool, "crew": Bounded(crew, at_once=3), "dask": cluster},
)
#: The same with another executor, where a test wants one.
other: App = app


#: An app that was not given them.
lame = App("lame", database_url="memory://", executors={"crew": crew})


class Parcel(BaseModel):
    size: int
    made_in: int


@app.resource
def scale() -> Iterator[list[int]]:
    yield [os.getpid()]


def weighed(size: int, scale: list[int], ctx: TaskContext) -> Parcel:
    assert scale == [os.getpid()]
    ctx.progress(0.1, "begun")
    ctx.progress(0.9, "weighed")
    return Parcel(size=size + ctx.attempt, made_in=os.getpid())


@app.task(executor="pool", provides="parcel")
def pack(size: int, scale: list[int], ctx: TaskContext) -> Parcel:
    return weighed(size, scale, ctx)


@pack.revert
def unpack(size: int, parcel: Parcel | None, failures: list[Failure], said: str) -> None:
    Path(said).write_text(f"unpack {parcel.size if parcel else None} {failures[0].message} {os.getpid()}")


@app.task(executor="dask", provides="parcel")
def ship(size: int, scale: list[int], ctx: TaskContext) -> Parcel:
    return weighed(size, scale, ctx)


@app.task(executor="crew", provides="thread")
def call(parcel: Parcel, ctx: TaskContext) -> str:
    ctx.progress(0.5, "half way")
    return current_thread().name


@app.task(executor="processes")
class Stamp(Task[int]):
    def execute(self, parcel: Parcel) -> int:
        return os.getpid()


@app.task
class Label(Task[str]):
    text: str = "paid"

    def execute(self, parcel: Parcel) -> str:
        return f"{self.text} {parcel.size}"


@app.task
async def note(parcel: Parcel) -> str:
    return current_thread().name


@app.task
def file(parcel: Parcel) -> str:
    return current_thread().name


@app.flow
def mixed(size: int, said: str) -> Flow[object]:
    return linear(pack, unordered(call, Stamp(), note, file))


@app.flow
def far(size: int) -> Flow[object]:
    return linear(ship, unordered(call, Stamp(), note, file))


@app.task
def refuse(said: str) -> None:
    raise ValueError("nobody home")


@app.flow
def send(size: int, said: str) -> Flow[str]:
    label = Label(text="express")
    return linear(pack, label, returns=label)


@app.flow
def send_back(size: int, said: str) -> Flow[None]:
    return linear(pack, refuse)


@app.task
def dies(times: int, said: str) -> int:
    """Ends its process so many times."""
    with Path(said).open("a") as out:
        out.write(f"{os.getpid()}\n")
    if len(Path(said).read_text().splitlines()) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


@app.task(on_interrupt="fail")
def dies_once(said: str) -> None:
    Path(said).touch()
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def waits(n: int) -> int:
    sleep(0.05)
    return n


@app.flow
def dies_beside(said: str) -> Flow[object]:
    return unordered(dies.bind(1, said), pack.bind(5))


@app.flow
def beside_a_killer(said: str) -> Flow[object]:
    return unordered(dies.bind(99, said), waits.each(range(3)))


@app.task(timeout=5)
def oversleeps(said: str) -> None:
    Path(said).write_text(str(os.getpid()))
    sleep(600)


@app.task(timeout=1.5)
def dawdles(said: str, ctx: TaskContext) -> None:
    while not ctx.cancelled:
        sleep(0.01)
    Path(said).write_text("saw it")
    raise InterruptedError


@app.task
def waits_for_the_flag(said: str, ctx: TaskContext) -> None:
    Path(said).touch()
    while not ctx.cancelled:
        sleep(0.01)
    Path(said).write_text("saw it")


@app.task
def until_told(said: str, ctx: TaskContext) -> int:
    """Ends when it is told, or when there is a sign to go."""
    go = Path(said).with_suffix(".go")
    Path(said).touch()
    while not go.exists():
        if ctx.cancelled:
            Path(said).write_text("told")
            raise InterruptedError
        sleep(0.01)
    return 7


@app.task(executor="threads")
def fails_beside(said: str) -> None:
    while not Path(said).exists():
        sleep(0.01)
    raise ValueError("beside")


@app.task(executor="far", priority=1)
def in_front(said: str) -> None:
    """Does not listen."""
    Path(said).touch()
    while not Path(said).with_suffix(".go").exists():
        sleep(0.01)


@app.task(executor="far")
def behind(said: str) -> None:
    Path(said).with_suffix(".behind").touch()


@app.flow
def two_in_a_line(said: str) -> Flow[object]:
    return unordered(in_front.bind(said), behind.bind(said), fails_beside.bind(said))


@app.flow
def sides(said: str, where: str) -> Flow[object]:
    waiting = {
        "processes": flag_in_processes, "pool": flag_in_pool, "crew": flag_in_crew, "dask": flag_in_dask
    }[where]  # fmt: skip
    return unordered(waiting.bind(said), fails_beside.bind(said))


@app.task(executor="processes")
def flag_in_processes(said: str, ctx: TaskContext) -> None:
    waits_for_the_flag(said, ctx)


@app.task(executor="pool")
def flag_in_pool(said: str, ctx: TaskContext) -> None:
    waits_for_the_flag(said, ctx)


@app.task(executor="crew")
def flag_in_crew(said: str, ctx: TaskContext) -> None:
    waits_for_the_flag(said, ctx)


@app.task(executor="dask")
def flag_in_dask(said: str, ctx: TaskContext) -> None:
    waits_for_the_flag(said, ctx)


@app.task
def together(n: int, said: str, want: int) -> None:
    """Does not end before so many have begun."""
    with Path(said).open("a") as out:
        out.write("+")
    while Path(said).read_text().count("+") < want:
        sleep(0.01)
    with Path(said).open("a") as out:
        out.write("-")


@app.flow
def crowd(said: str, want: int) -> Flow[object]:
    return linear(together.each(range(6), said=said, want=want))


class Login(BaseModel):
    user: str
    password: SecretStr


@app.task
def log_in(login: Login) -> SecretStr:
    return SecretStr(f"token of {login.password.get_secret_value()}")


@log_in.revert
def log_out(login: Login, result: SecretStr | None, said: str = "/dev/null") -> None:
    made = "nothing" if result is None else result.get_secret_value()
    Path(said).write_text(f"{login.password.get_secret_value()}: {made}")


@app.task
def let_slip(token: SecretStr, how: str) -> str:
    """Lets out what it was given; where it raises, at the place where a message is cut."""
    if how == "return":
        return token.get_secret_value()
    raise ValueError("x" * 3_990 + token.get_secret_value())


@app.flow
def enter_and_tell(login: Login, how: str, said: str) -> Flow[str]:
    token = log_in.bind(login).as_("token")
    told = let_slip.bind(token, how)
    return linear(token, told, returns=told)


@app.task
def spell(token: SecretStr) -> int:
    return len(token.get_secret_value())


@app.flow
def enter(login: Login) -> Flow[int]:
    return linear(log_in.bind(login).as_("token"), spell, returns=spell)


lame.include(app)
