"""Coming from TaskFlow: the same classes, with `default_provides`, `inject`, `rebind` and constructor arguments.

There: class CreateVolume(task.Task): default_provides = 'volume_id'; execute(self, size); revert(self, result, **kw).

python -m examples.ex3_taskflow_port
"""

from typing import assert_type

from flowledger import App, Failure, Flow, Task, linear, symbol

app = App("volumes")


@app.task
class CreateVolume(Task[str]):
    provides = "volume_id"
    pool: str = "ssd"  # was an argument of __init__; it is kept in the log

    def execute(self, size: int) -> str:
        return f"{self.pool}-{size}"

    def revert(self, result: str | None, failures: list[Failure]) -> None:
        print(f"deleting {result} after {len(failures)} failures")


@app.task
class AttachVolume(Task[None]):
    async def execute(self, volume_id: str, server_id: str) -> None:
        print(f"{volume_id} attached to {server_id}")

    def revert(self, volume_id: str, **kwargs: object) -> None:
        print(f"{volume_id} detached")


@app.flow
def volume(size: int, machine: str) -> Flow[str]:
    create = CreateVolume(pool="hdd").bind(size=size).named("create")  # inject=
    attach = AttachVolume().bind(server_id=symbol("machine"))  # rebind=
    return linear(create, attach, returns=create)


if __name__ == "__main__":
    run = app.submit(volume(10, machine="srv-1"), key="vol-1", priority=3)  # for a conductor; where there is none,
    assert_type(run.wait(), str)  # whoever waits drives it
    print(run.result)
