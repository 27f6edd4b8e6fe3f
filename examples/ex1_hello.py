"""The smallest flow: two tasks, a value by hand and a value by name.

python -m examples.ex1_hello
"""

from typing import assert_type

from flowledger import App, Flow, linear

app = App("hello")


@app.task(provides="greeting")
def greet(name: str) -> str:
    return f"Hello, {name}"


@app.task
def shout(greeting: str) -> str:
    return greeting.upper() + "!"


@app.flow
def hello(name: str) -> Flow[str]:
    return linear(greet.bind(name), shout, returns=shout)


def test_greet() -> None:
    assert greet("Ada") == "Hello, Ada"  # calling a task is calling the function


if __name__ == "__main__":
    run = app.run(hello("world"), key="first")  # the same key again: the result comes from the log
    assert_type(run.result, str)
    print(run.result)
