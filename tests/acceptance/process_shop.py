"""An app whose bodies run in processes of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from time import sleep

from pydantic import BaseModel, Secret, SecretStr

from flowledger import App, Flow, Task, TaskContext, linear
from flowledger.events.failure import Failure

app = App("process_shop", database_url="memory://")


class Parcel(BaseModel):
    size: int
    made_in: int


@app.resource
def scale() -> Iterator[list[int]]:
    yield [os.getpid()]


@app.task(executor="processes", provides="parcel")
def pack(size: int, scale: list[int], ctx: TaskContext) -> Parcel:
    assert scale == [os.getpid()]
    return Parcel(size=size + ctx.attempt, made_in=os.getpid())


@pack.revert
def unpack(size: int, parcel: Parcel | None, failures: list[Failure], said: str) -> None:
    with Path(said).open("a") as out:
        out.write(f"unpack {parcel.size if parcel else None} {failures[0].message} {os.getpid()}\n")


@app.task(executor="processes")
class Stamp(Task[str]):
    text: str = "paid"

    def execute(self, parcel: Parcel) -> str:
        return f"{self.text} {parcel.size}"


@app.task
def refuse(said: str) -> None:
    raise ValueError("nobody home")


@app.flow
def send(size: int, said: str) -> Flow[str]:
    stamped = Stamp(text="express")
    return linear(pack, stamped, returns=stamped)


@app.flow
def send_back(size: int, said: str) -> Flow[None]:
    return linear(pack, refuse)


@app.task(executor="processes")
def dies(times: int, said: str) -> int:
    """Ends its process so many times."""
    with Path(said).open("a") as out:
        out.write(f"{os.getpid()}\n")
    if len(Path(said).read_text().splitlines()) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


@app.task(executor="processes", timeout=5)
def dawdles(said: str) -> None:
    Path(said).write_text(str(os.getpid()))
    sleep(600)


@app.task(executor="processes")
def waits_for_the_flag(said: str, ctx: TaskContext) -> None:
    Path(said).touch()
    while not ctx.cancelled:
        sleep(0.01)
    Path(said).write_text("saw it")


@app.task
def fails_beside(said: str) -> None:
    while not Path(said).exists():
        sleep(0.01)
    raise ValueError("beside")


class Login(BaseModel):
    user: str
    password: SecretStr


@app.task(executor="processes")
def log_in(login: Login) -> Secret[str]:
    return Secret[str](f"token of {login.password.get_secret_value()}")


@log_in.revert
def log_out(login: Login, result: Secret[str] | None, said: str) -> None:
    made = "nothing" if result is None else result.get_secret_value()
    with Path(said).open("a") as out:
        out.write(f"{login.password.get_secret_value()}: {made}\n")


@app.task(executor="processes")
def tell(token: Secret[str], how: str) -> str:
    if how == "return":
        return token.get_secret_value()
    raise ValueError("x" * 3_990 + token.get_secret_value())


@app.flow
def enter(login: Login, how: str, said: str) -> Flow[str]:
    token = log_in.bind(login).as_("token")
    told = tell.bind(token, how)
    return linear(token, told, returns=told)
