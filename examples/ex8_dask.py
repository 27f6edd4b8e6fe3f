"""Heavy bodies on a Dask cluster, the others here, all in one run. Needs Dask: pip install distributed.

python -m examples.ex8_dask
"""
# mypy: disable-error-code="no-untyped-call"
# pyright: basic, reportMissingImports=false
# (Dask has no types of its own, and is not there everywhere.)

from collections.abc import Iterator
from concurrent.futures import Executor
from os import getpid

from distributed import Client, LocalCluster
from pydantic import BaseModel

from flowledger import App, Bounded, Flow, linear


def dask() -> Iterator[Executor]:
    """Called once by a process that needs it. What comes after the yield is done when the app is closed.

    Elsewhere it is `Client("tcp://scheduler:8786")`.
    """
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client.get_executor()


app = App("pictures", executors={"dask": Bounded(dask, at_once=4)})


class Tile(BaseModel):
    number: int
    light: int
    made_in: int


@app.task(executor="dask", read_only=True, label="tile-{number}")
def render(number: int) -> Tile:
    return Tile(number=number, light=sum(n * n for n in range(number * 10_000)) % 256, made_in=getpid())


@app.task(read_only=True)
def assemble(tiles: list[Tile]) -> str:
    elsewhere = {tile.made_in for tile in tiles} - {getpid()}
    return f"{len(tiles)} tiles, made in {len(elsewhere)} other processes"


@app.flow
def picture(tiles: int) -> Flow[str]:
    rendered = render.each(range(1, tiles + 1))
    whole = assemble.bind(rendered)
    return linear(rendered, whole, returns=whole)


if __name__ == "__main__":
    print(app.run(picture(8)).result)
    app.close()
